// The manual page hearth(1), written from the tree of commands and the tables of settings.

const escapeText = (text) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1')
const bold = (text) => `.B ${escapeText(text)}\n`
const item = (term, text) => `.TP\n${bold(term)}${escapeText(text)}\n`

/** `commands` is the program's command, `configs` the daemons' tables: `{daemon, file, settings}`, `seconds` the page's date. */
export function manPage({ program, configs, keyOf, version, seconds }) {
  const date = new Date(seconds * 1000).toISOString().slice(0, 10)
  return [
    `.TH HEARTH 1 "${date}" "hearth ${version}" "Hearth"\n`,
    `.SH NAME\nhearth \\- ${escapeText(program.description())}\n`,
    '.SH SYNOPSIS\n.B hearth\n.RI [ options ] " command " [ arguments ]\n',
    '.SH COMMANDS\n',
    ...leavesOf(program, ['hearth']).map(describeCommand),
    '.SH CONFIGURATION\n',
    escapeText(
      'The daemons read a JSON object from the files below. A flag of the daemon goes over its environment variable, that over the ' +
        'file, that over the default. Lists are arrays of texts. Every mistake is told at once and the daemon does not start.\n'
    ),
    ...configs.map((config) => describeConfig(config, keyOf)),
    '.SH FILES\n',
    ...files.map(([path, text]) => item(path, text)),
    '.SH SEE ALSO\n.BR systemd.service (5),\n.BR runc (8),\n.BR conmon (8)\n'
  ].join('')
}

const files = [
  ['/var/lib/hearth', 'everything that outlives the boot: identity, logs of the masters, images, sandboxes, the agent’s ledger'],
  ['/var/lib/hearth/run', 'the sockets; group hearth may use them'],
  ['/etc/hearth', 'settings of the daemons'],
  ['/usr/lib/hearth/versions', 'the programs, one folder a version, with the Node.js runtime they run on'],
  ['/usr/share/doc/hearth/systemd.md', 'the units, and why they are as they are']
]

function leavesOf(command, path) {
  return command.commands.flatMap((c) => {
    const here = [...path, c.name()]
    return c.commands.length > 0 ? leavesOf(c, here) : [{ command: c, path: here }]
  })
}

function describeCommand({ command, path }) {
  const options = command.options.map((o) => item(o.flags, o.description))
  return `.SS "${escapeText(`${path.join(' ')} ${command.usage()}`)}"\n${escapeText(command.description())}\n${options.join('')}`
}

function describeConfig({ daemon, file, settings }, keyOf) {
  const rows = settings.map(({ flag, env, fallback, help }) => {
    const usual = fallback === '' ? '' : ` Default: ${fallback}.`
    return item(keyOf(flag), `${help}.${usual} Flag --${flag}, variable ${env}.`)
  })
  return `.SS "${escapeText(file)}, the settings of the ${daemon}"\n${rows.join('')}`
}
