import type { Command } from 'commander'

interface Place {
  /** Words from the program's name to the command: `task run`. */
  readonly path: string
  readonly words: readonly string[]
  /** What a bare word may name here. */
  readonly names: 'tasks' | 'files' | 'nothing'
}

/** Undefined for a shell that is not known. */
export function scriptFor(shell: string, program: Command): string | undefined {
  const places = placesOf(program, [])
  if (shell === 'bash') return bashScript(places)
  if (shell === 'zsh') return `#compdef hearth\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(places)}`
  return shell === 'fish' ? fishScript(places) : undefined
}

function placesOf(command: Command, path: readonly string[]): readonly Place[] {
  const commands = command.commands.flatMap((c) => [c.name(), ...c.aliases()])
  const options = command.options.flatMap((o) => [o.short, o.long].filter((flag) => flag !== undefined))
  const argument = command.registeredArguments[0]?.name() ?? ''
  const names = argument === 'task' ? 'tasks' : ['path', 'from'].includes(argument) ? 'files' : 'nothing'
  const shells = command.name() === 'completion' ? ['bash', 'zsh', 'fish'] : []
  const here: Place = { path: path.join(' '), words: [...commands, ...shells, ...options, '--help'], names }
  const below = command.commands.flatMap((c) => [c.name(), ...c.aliases()].flatMap((name) => placesOf(c, [...path, name])))
  return [here, ...below]
}

/** The place is found from the words before the cursor; options and their values do not lead anywhere. */
function bashScript(places: readonly Place[]): string {
  const rows = places.map(({ path, words, names }) => `    '${path}') words='${words.join(' ')}' names='${names}' ;;`)
  const paths = places.map((p) => `'${p.path}'`).join('|')
  return `_hearth() {
  local current="\${COMP_WORDS[COMP_CWORD]}" place='' words='' names='nothing' word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${place:+$place }$word" in
      ${paths}) place="\${place:+$place }$word" ;;
    esac
  done
  case "$place" in
${rows.join('\n')}
  esac
  if [[ $current != -* ]]; then
    case "$names" in
      tasks) words="$words $(hearth task list --quiet --all 2>/dev/null)" ;;
      files) COMPREPLY=($(compgen -f -- "$current")); return ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _hearth hearth
`
}

function fishScript(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, names }) => {
    const here = `test (__hearth_place) = '${path}'`
    const flags = words.filter((w) => w.startsWith('-'))
    const commands = words.filter((w) => !w.startsWith('-'))
    return [
      ...(names === 'files' ? [] : [`complete -c hearth -f -n "${here}"`]),
      ...(commands.length > 0 ? [`complete -c hearth -n "${here}" -a '${commands.join(' ')}'`] : []),
      ...(names === 'tasks' ? [`complete -c hearth -n "${here}" -a '(hearth task list --quiet --all 2>/dev/null)'`] : []),
      ...flags.map((f) => `complete -c hearth -n "${here}" ${f.startsWith('--') ? `-l ${f.slice(2)}` : `-s ${f.slice(1)}`}`)
    ]
  })
  return `function __hearth_place
  set -l place ''
  for word in (commandline -opc)[2..-1]
    set -l next (string trim "$place $word")
    contains -- "$next" ${places.map((p) => `'${p.path}'`).join(' ')}; and set place "$next"
  end
  echo "$place"
end
${lines.join('\n')}
`
}
