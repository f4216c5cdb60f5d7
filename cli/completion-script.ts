import type { Command } from 'commander'

interface Place {
  /** Words from the program's name to the command: `task run`. */
  readonly path: string
  readonly words: readonly string[]
  /** What a bare word may name here. */
  readonly names: Names
  /** Options that take one of a few words. */
  readonly choices: readonly Choice[]
}

type Names = 'tasks' | 'images' | 'files' | 'nothing'

interface Choice {
  readonly flag: string
  readonly values: readonly string[]
}

const listers = {
  tasks: 'hearth task list --quiet --all 2>/dev/null',
  images: 'hearth image list --quiet 2>/dev/null'
}

const namesOf: Readonly<Record<string, Names>> = { task: 'tasks', image: 'images', path: 'files', from: 'files' }

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
  const names = namesOf[argument] ?? 'nothing'
  const choices = command.options.flatMap((o) => (o.long && o.argChoices ? [{ flag: o.long, values: o.argChoices }] : []))
  const shells = command.name() === 'completion' ? ['bash', 'zsh', 'fish'] : []
  const here: Place = { path: path.join(' '), words: [...commands, ...shells, ...options, '--help'], names, choices }
  const below = command.commands.flatMap((c) => [c.name(), ...c.aliases()].flatMap((name) => placesOf(c, [...path, name])))
  return [here, ...below]
}

/** The place is found from the words before the cursor; options and their values do not lead anywhere. */
function bashScript(places: readonly Place[]): string {
  const rows = places.map(({ path, words, names }) => `    '${path}') words='${words.join(' ')}' names='${names}' ;;`)
  const choices = places.flatMap((p) =>
    p.choices.map((c) => `    '${p.path} ${c.flag}') COMPREPLY=($(compgen -W '${c.values.join(' ')}' -- "$current")); return ;;`)
  )
  const paths = places.map((p) => `'${p.path}'`).join('|')
  return `_hearth() {
  local current="\${COMP_WORDS[COMP_CWORD]}" place='' words='' names='nothing' word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${place:+$place }$word" in
      ${paths}) place="\${place:+$place }$word" ;;
    esac
  done
  case "$place \${COMP_WORDS[COMP_CWORD-1]}" in
${choices.join('\n')}
  esac
  case "$place" in
${rows.join('\n')}
  esac
  if [[ $current != -* ]]; then
    case "$names" in
      tasks) words="$words $(${listers.tasks})" ;;
      images) words="$words $(${listers.images})" ;;
      files) COMPREPLY=($(compgen -f -- "$current")); return ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _hearth hearth
`
}

function fishScript(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words, names, choices }) => {
    const here = `test (__hearth_place) = '${path}'`
    const flags = words.filter((w) => w.startsWith('-'))
    const commands = words.filter((w) => !w.startsWith('-'))
    return [
      ...(names === 'files' ? [] : [`complete -c hearth -f -n "${here}"`]),
      ...(commands.length > 0 ? [`complete -c hearth -n "${here}" -a '${commands.join(' ')}'`] : []),
      ...(names === 'tasks' || names === 'images' ? [`complete -c hearth -n "${here}" -a '(${listers[names]})'`] : []),
      ...choices.map((c) => `complete -c hearth -n "${here}" -l ${c.flag.slice(2)} -x -a '${c.values.join(' ')}'`),
      ...flags
        .filter((f) => !choices.some((c) => c.flag === f))
        .map((f) => `complete -c hearth -n "${here}" ${f.startsWith('--') ? `-l ${f.slice(2)}` : `-s ${f.slice(1)}`}`)
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
