import type { Command } from 'commander'
import { collect, group, jsonOption, leaf, type Shell } from './shell.ts'

export function addTenantCommands(program: Command, shell: Shell): void {
  const tenant = group(program, 'tenant', 'what the tasks of a role may be')
  const commands = () => import('../commands/tenant.ts')

  const set = leaf(tenant, 'set', 'set the policy of a role; what is not named stays as it is').addOption(jsonOption())
  set
    .argument('<role>', 'such as shop, whose policy counts for shop/web too; * for all without one of their own')
    .option('--require <wall>', 'a wall that every task has to have, such as read-only-root; none for none', collect)
    .option('--image <pattern>', 'an image that tasks may use, such as "docker.io/library/*"; none for none', collect)
    .option('--registry <host>', 'a registry that images may come from; docker.io for images without one, * for all', collect)
    .option('--host-path <folder>', 'a folder of nodes that tasks may mount, with all below it; none for none', collect)
    .option('--device <path>', 'a device of nodes that tasks may use, by path or by name; none for none', collect)
    .option('--cap <name>', 'a Linux capability that tasks may add; ALL for all, none for none', collect)
    .option('--seccomp <profile>', 'a seccomp profile that tasks may use; unconfined for doing without one', collect)
    .option(
      '--signed <pattern=key>',
      'images that have to be signed and the file of a public key, such as "reg.example/*=cosign.pub"; none for none',
      collect
    )
  set.action((role: string, options) => shell.run(async (c) => (await commands()).setTenant(c, role, options)))

  const show = leaf(tenant, 'show', 'show the policy that counts for a role').addOption(jsonOption())
  show.argument('<role>', 'such as shop/web')
  show.action((role: string, options) => shell.run(async (c) => (await commands()).showTenant(c, role, options)))

  const list = leaf(tenant, 'list', 'list the roles that have a policy').alias('ls').addOption(jsonOption())
  list.action((options) => shell.run(async (c) => (await commands()).listTenants(c, options)))

  const rm = leaf(tenant, 'rm', 'remove policies; the one of the role above then counts').argument('<role...>', 'roles')
  rm.action((roles: string[], options) => shell.run(async (c) => (await commands()).removeTenants(c, roles, options)))
}
