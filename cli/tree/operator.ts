import { type Command, Option } from 'commander'
import { group, jsonOption, leaf, type Shell } from './shell.ts'

export function addOperatorCommands(program: Command, shell: Shell): void {
  const operator = group(program, 'operator', 'people and programs that use the API from other hosts')
  const command = () => import('../commands/operator.ts')
  leaf(operator, 'create', 'make an operator and print its token, this once')
    .addOption(jsonOption())
    .addOption(new Option('--role <role>', 'what it may do').choices(['viewer', 'operator', 'admin']).default('viewer'))
    .option('--tenant <role>', 'an operator of the tasks of this role alone, and of the roles below it')
    .option('--ttl <time>', 'how long the token is good, such as 12h or 90d; without it for ever')
    .argument('<name>', 'letters, digits, dots, dashes and underscores')
    .action((name: string, options) => shell.run(async (c) => (await command()).createOperator(c, name, options)))
  leaf(operator, 'list', 'list operators; never their secrets')
    .alias('ls')
    .addOption(jsonOption())
    .action((options) => shell.run(async (c) => (await command()).listOperators(c, options)))
  leaf(operator, 'remove', 'void the token of an operator')
    .alias('rm')
    .argument('<name>', 'its name')
    .action((name: string, options) => shell.run(async (c) => (await command()).removeOperator(c, name, options)))

  leaf(program, 'audit', 'show who changed what, from where, and with which result')
    .addOption(jsonOption())
    .option('--lines <count>', 'how many of the newest', '50')
    .action((options) => shell.run(async (c) => (await command()).showAudit(c, options)))
}
