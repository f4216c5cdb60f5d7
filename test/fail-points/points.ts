import { join, relative } from 'node:path'
import ts from 'typescript'
import { type Shape, shapeOf } from './outside.ts'

/** One place in the sources from which something outside the process is called. */
export interface FailPoint {
  /** `file:function:operation`, with `#2` and so on where a function has several of the kind. */
  readonly name: string
  readonly shape: Shape
  readonly line: number
}

interface Edit {
  readonly start: number
  readonly end: number
  readonly text: string
}

export interface Instrumented {
  readonly points: readonly FailPoint[]
  /** The source with every outside call led through the shim, by absolute path. */
  readonly sources: ReadonlyMap<string, string>
}

/** The rooms whose calls are fail points. */
const isInstrumented = (file: string): boolean => /^(agent|isolators|base)\//.test(file)

/**
 * Reads the programs with the type checker and finds every call, and every function passed on, that is declared by one of Node's
 * modules for files, processes and sockets. The types decide, not the spelling: a renamed import or a method of a file handle is
 * found as well, and a new call is a new fail point without anybody writing one.
 */
export function instrument(root: string, programs: readonly string[]): Instrumented {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)).config as {
    compilerOptions: unknown
  }
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root)
  const program = ts.createProgram(
    programs.map((p) => join(root, p)),
    { ...options, noEmit: true }
  )
  const checker = program.getTypeChecker()
  const points: FailPoint[] = []
  const sources = new Map<string, string>()
  for (const source of program.getSourceFiles()) {
    const file = relative(root, source.fileName)
    if (source.isDeclarationFile || !isInstrumented(file)) continue
    const found = new FileSearch(checker, source, file)
    found.visit(source)
    points.push(...found.points)
    sources.set(source.fileName, applied(source.text, found.edits))
  }
  return { points: points.sort((a, b) => (a.name < b.name ? -1 : 1)), sources }
}

class FileSearch {
  readonly points: FailPoint[] = []
  readonly edits: Edit[] = []
  readonly #checker: ts.TypeChecker
  readonly #source: ts.SourceFile
  readonly #file: string
  readonly #seen = new Map<string, number>()

  constructor(checker: ts.TypeChecker, source: ts.SourceFile, file: string) {
    this.#checker = checker
    this.#source = source
    this.#file = file
  }

  visit(node: ts.Node): void {
    if (ts.isImportDeclaration(node) || ts.isTypeNode(node) || ts.isExportDeclaration(node)) return
    if (ts.isCallExpression(node)) this.#call(node)
    else if (ts.isIdentifier(node)) this.#reference(node)
    ts.forEachChild(node, (child) => this.visit(child))
  }

  #call(node: ts.CallExpression): void {
    const callee = node.expression
    const receiver = ts.isPropertyAccessExpression(callee) ? this.#typeName(callee.expression) : ''
    const shape = shapeOf(this.#checker.getResolvedSignature(node)?.declaration, receiver)
    if (shape === undefined) return
    if (ts.isPropertyAccessExpression(callee)) {
      const name = callee.name.text
      const operation = shape === 'exec' ? `exec(${programOf(node)})` : name
      const point = this.#point(callee.name, operation, shape)
      const isOptional = callee.questionDotToken !== undefined || ts.isOptionalChain(callee)
      this.#insert(callee.getStart(), `__hearthFail.m(${point}, `)
      this.edits.push({ start: callee.expression.end, end: callee.end, text: `, '${name}')${isOptional ? '?.' : ''}` })
    } else {
      const point = this.#point(callee, ts.isIdentifier(callee) ? callee.text : 'call', shape)
      this.#insert(callee.getStart(), `__hearthFail.f(${point}, `)
      this.#insert(callee.end, ')')
    }
  }

  /** A function of the outside that is passed on instead of called: `{ rename }`, `promisify(read)`. */
  #reference(node: ts.Identifier): void {
    const { parent } = node
    if (ts.isCallExpression(parent) && parent.expression === node) return
    if (ts.isPropertyAccessExpression(parent) && parent.name === node) return
    const isShorthand = ts.isShorthandPropertyAssignment(parent)
    const named = isShorthand ? this.#checker.getShorthandAssignmentValueSymbol(parent) : this.#checker.getSymbolAtLocation(node)
    if (named === undefined || (named.flags & ts.SymbolFlags.Alias) === 0) return
    const symbol = this.#checker.getAliasedSymbol(named)
    if ((symbol.flags & ts.SymbolFlags.Function) === 0) return
    const shape = shapeOf(symbol.declarations?.[0], '')
    if (shape === undefined) return
    const point = this.#point(node, node.text, shape)
    this.#insert(node.getStart(), `${isShorthand ? `${node.text}: ` : ''}__hearthFail.f(${point}, `)
    this.#insert(node.end, ')')
  }

  #insert(at: number, text: string): void {
    this.edits.push({ start: at, end: at, text })
  }

  #typeName(node: ts.Expression): string {
    return this.#checker.getNonNullableType(this.#checker.getTypeAtLocation(node)).symbol?.name ?? ''
  }

  /** Notes the point and answers its arguments for the shim. */
  #point(node: ts.Node, operation: string, shape: Shape): string {
    const plain = `${this.#file}:${enclosing(node)}:${operation}`
    const count = (this.#seen.get(plain) ?? 0) + 1
    this.#seen.set(plain, count)
    const name = count === 1 ? plain : `${plain}#${count}`
    const line = this.#source.getLineAndCharacterOfPosition(node.getStart()).line + 1
    this.points.push({ name, shape, line })
    return `${JSON.stringify(name)}, '${shape}'`
  }
}

/** The program that a call of the exec port names, where it says so in words. */
function programOf(call: ts.CallExpression): string {
  const [first] = call.arguments
  return first !== undefined && ts.isStringLiteral(first) ? first.text : 'program'
}

/** The names of the functions, methods and objects around a node, outermost first. */
function enclosing(node: ts.Node): string {
  const names: string[] = []
  for (let at = node.parent; at !== undefined && !ts.isSourceFile(at); at = at.parent) {
    const name = nameOfScope(at)
    if (name !== undefined) names.unshift(name)
  }
  return names.length === 0 ? 'module' : names.join('.')
}

function nameOfScope(node: ts.Node): string | undefined {
  if (ts.isConstructorDeclaration(node)) return 'constructor'
  const isNamed =
    ts.isFunctionDeclaration(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isGetAccessorDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ((ts.isPropertyAssignment(node) || ts.isVariableDeclaration(node) || ts.isPropertyDeclaration(node)) && holdsFunction(node))
  return isNamed ? node.name?.getText() : undefined
}

const holdsFunction = (node: ts.PropertyAssignment | ts.VariableDeclaration | ts.PropertyDeclaration): boolean =>
  node.initializer !== undefined &&
  (ts.isArrowFunction(node.initializer) ||
    ts.isFunctionExpression(node.initializer) ||
    ts.isObjectLiteralExpression(node.initializer) ||
    ts.isNewExpression(node.initializer))

/** Insertions at one place keep the order in which they were asked for at a start, outermost call first. */
function applied(text: string, edits: readonly Edit[]): string {
  const ordered = edits.map((edit, order) => ({ ...edit, order })).sort((a, b) => a.start - b.start || a.order - b.order)
  let out = ''
  let at = 0
  for (const { start, end, text: added } of ordered) {
    out += text.slice(at, start) + added
    at = Math.max(at, end)
  }
  return out + text.slice(at)
}
