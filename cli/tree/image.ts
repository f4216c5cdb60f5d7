import { type Command, Option } from 'commander'
import { group, jsonOption, leaf, type Shell } from './shell.ts'

export function addImageCommands(program: Command, shell: Shell): void {
  const image = group(program, 'image', 'the images on a node')
  const nodeOption = (): Option => new Option('--node <node>', 'the node that holds the image; needed where there are many')
  const commands = () => import('../commands/image.ts')

  const load = leaf(image, 'import', 'import a root file system (tar), an OCI image layout or a docker archive')
  load.argument('<path>', 'a tar file, a folder with an OCI layout, or - for standard input')
  load.addOption(nodeOption()).addOption(jsonOption())
  load.option('--name <name>', 'the name to run it by; needed where the archive holds none')
  load.addOption(
    new Option('--kind <kind>', 'what the archive is').choices(['auto', 'rootfs', 'oci', 'docker-archive']).default('auto')
  )
  load.action((path: string, options) => shell.run(async (c) => (await commands()).importImage(c, path, options)))

  const pull = leaf(image, 'pull', 'pull an image from its registry').addOption(nodeOption()).addOption(jsonOption())
  pull.argument('<image>', 'such as debian:12, registry.example/shop/web:1 or NAME@sha256:…')
  pull.option('--username <name>', 'the name for the registry; else what docker login left on the node')
  pull.option('--password-stdin', 'read the password for it from standard input')
  pull.action((name: string, options) =>
    shell.run(async (c) => (await import('../commands/image-pull.ts')).pullImage(c, name, options))
  )

  const list = leaf(image, 'list', 'list images').alias('ls').addOption(nodeOption()).addOption(jsonOption())
  list.option('-q, --quiet', 'names only')
  list.action((options) => shell.run(async (c) => (await commands()).listImages(c, options)))

  const show = leaf(image, 'show', 'show one image').addOption(nodeOption()).addOption(jsonOption())
  show.argument('<image>', 'name or digest')
  show.action((name: string, options) => shell.run(async (c) => (await commands()).showImage(c, name, options)))

  const rm = leaf(image, 'rm', 'remove images').addOption(nodeOption())
  rm.argument('<image...>', 'names or digests')
  rm.action((names: string[], options) => shell.run(async (c) => (await commands()).removeImages(c, names, options)))

  const verify = leaf(image, 'verify', 'look at every byte of images, all of them unless named')
  verify.addOption(nodeOption()).addOption(jsonOption())
  verify.argument('[image...]', 'names or digests')
  verify.option('--repair', 'pull what is damaged anew, and nothing else')
  verify.action((names: string[], options) =>
    shell.run(async (c) => (await import('../commands/image-verify.ts')).verifyImages(c, names, options))
  )

  const prune = leaf(image, 'prune', 'remove images that no container uses, and their layers')
  prune.addOption(nodeOption()).addOption(jsonOption())
  prune.option('--unused-for <time>', 'only those that were not used for so long, such as 7d')
  prune.option('--imported', 'those too that were imported, and cannot be pulled again')
  prune.action((options) => shell.run(async (c) => (await commands()).pruneImages(c, options)))

  const gc = leaf(image, 'collect', 'remove layers that no image uses')
    .alias('gc')
    .addOption(nodeOption())
    .addOption(jsonOption())
  gc.action((options) => shell.run(async (c) => (await commands()).collectImages(c, options)))
}
