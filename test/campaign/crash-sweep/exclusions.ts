interface Exclusion {
  readonly why: string
  /** Names; one that ends in `/` or `:` stands for every point of that folder or file which is not hit. */
  readonly points: readonly string[]
  /** Timing decides whether a life cycle comes by: being hit does not make the excuse stale. */
  readonly sometimes?: boolean
}

/** Points that no life cycle here must hit, each group with its reason. One that is hit after all has to leave this list. */
export const exclusions: readonly Exclusion[] = [
  {
    why: 'Reads the host for `hearth node health` and its metrics, in a child of its own; no step of a task’s life waits for it',
    points: ['agent/node-health/', 'agent/host/hardware.ts:']
  },
  {
    why: 'Only under systemd; npm run test:vm goes there',
    points: [
      'agent/host/systemd.ts:',
      'agent/host/workload-scope.ts:',
      'isolators/runtime/oci/process-table.ts:isFirstOfNamespace:readFileSync'
    ]
  },
  {
    why: 'Only while an upgrade is tried: test/host/upgrade*.test.ts breaks it at five places',
    points: ['agent/upgrade/']
  },
  {
    why: 'Only where somebody asks for the repair of a node; the next look finds what is left',
    points: ['agent/fsck/', 'agent/main.ts:printFsck:write']
  },
  {
    why: 'Only where lines were lost, by a full disk or the monitor’s own bound: test/host/log-full-disk and log-overrun go there',
    points: [
      'agent/logs/gap-file.ts:',
      'agent/logs/silent-loss.ts:',
      'agent/logs/rotated-files.ts:firstRecordMs:closeSync',
      'agent/logs/rotated-files.ts:firstRecordMs:openSync',
      'agent/logs/rotated-files.ts:firstRecordMs:readSync',
      'agent/logs/rotation.ts:LogRotation.#lookWhileFull:statSync',
      'agent/logs/rotation.ts:isCutAtEnd:closeSync',
      'agent/logs/rotation.ts:isCutAtEnd:openSync',
      'agent/logs/rotation.ts:isCutAtEnd:readSync'
    ]
  },
  {
    why: 'Only where a settings file is given',
    points: ['base/settings.ts:parseFile:readFileSync']
  },
  {
    why: 'Only on hosts with all controllers on cgroup v2; test/isolators and the VM tests go there',
    points: [
      'isolators/cgroup2/tree.ts:enable.on:readFile',
      'isolators/cgroup2/tree.ts:enable:writeFile',
      'isolators/cgroup2/tree.ts:joinCgroup:writeFile',
      'isolators/cgroup2/tree.ts:makeCgroup:mkdir',
      'isolators/cgroup2/tree.ts:makeCgroup:writeFile',
      'isolators/runtime/oci/conmon.ts:startConmon:end'
    ]
  },
  {
    why: 'Only with a master on another host, over TCP; the socket is the same from then on',
    points: ['agent/link.ts:dial:connect#2']
  },
  {
    why: 'Only where the host has a group hearth',
    points: ['agent/local-api/server.ts:listen:chown']
  },
  {
    why: 'Runs once nothing is to be lost any more: the agent refuses to start, or tells on its standard error why',
    points: [
      'agent/ledger/owner.ts:askOwner.done:destroy',
      'agent/ledger/owner.ts:askOwner:connect',
      'agent/ledger/owner.ts:listen:end',
      'agent/ledger/owner.ts:own:close',
      'agent/local-api/server.ts:listen:close',
      'agent/main.ts:main:write'
    ]
  },
  {
    why: 'Only behind another failure, of a disk that is full or of bytes that are damaged: test/agent/ledger and test/host plant those',
    points: [
      'agent/ledger/files.ts:diskFiles.open.truncate:truncate',
      'agent/ledger/files.ts:diskFiles.freeBytes:statfs',
      'agent/ledger/files.ts:diskFiles:link',
      'agent/images/image-list.ts:ImageList.open:rename',
      'agent/images/content-files.ts:ContentFiles.publish:rm',
      'agent/images/host-image.ts:HostImage.#make:rm',
      'agent/images/special-nodes.ts:SpecialNodes.abandon:kill',
      'agent/sandbox-files/beneath.ts:folderFault:close',
      'agent/sandbox-files/beneath.ts:folderFault:stat',
      'agent/sandbox-files/read-archive.ts:openNamedOrClose:close',
      'agent/local-api/server.ts:settle:destroy',
      'agent/local-api/server.ts:settle:end',
      'agent/local-api/server.ts:settle:writeHead'
    ]
  },
  {
    why: 'Only when a snapshot replaces the ledger, or an older file is found beside it: 4 MiB of records, which test/agent/ledger writes',
    points: ['agent/ledger/files.ts:diskFiles.remove:rm']
  },
  {
    why: 'Only with images of other shapes (two images that share a layer, a layer over a damaged one, an archive out of order), or later than the hour at which unused ones are collected',
    points: [
      'agent/images/archive-spool.ts:ArchiveSpool.chunksOf:createReadStream',
      'agent/images/content-files.ts:ContentFiles.verify:readFile',
      'agent/images/content-files.ts:countTree:readdir',
      'agent/images/content-files.ts:countTree:stat',
      'agent/images/host-image.ts:HostImage.collect:rm',
      'agent/images/layer-view.ts:mounted:realpath',
      'agent/images/layer-writer.ts:LayerWriter.#makeParents:mkdirSync',
      'agent/images/layer-writer.ts:LayerWriter.#walk:lstatSync',
      'agent/images/store.ts:DirectoryImageStore.collect:existsSync'
    ]
  },
  {
    why: 'Only for an exec by a user whom the image’s own files name, which the built-in image has not',
    points: [
      'agent/local-api/exec-user.ts:aside:readFile',
      'agent/local-api/exec-user.ts:ownFile:readFile',
      'agent/local-api/exec-user.ts:ownFile:stat'
    ]
  },
  {
    why: 'Only where a copy into the sandbox replaces something of another kind',
    points: [
      'agent/sandbox-files/write-archive.ts:ArchiveReader.#makeFile:rm',
      'agent/sandbox-files/write-archive.ts:ArchiveReader.#makeLink:unlink'
    ]
  },
  {
    why: 'Nothing calls it yet: the figures of a container’s use are not told to anybody',
    points: ['isolators/cgroup2/limits.ts:readUsage.number:readFile', 'isolators/cgroup2/limits.ts:readUsage:readFile']
  },
  {
    why: 'Depends on which of two comes first, or on a pause longer than a life cycle takes here',
    sometimes: true,
    points: [
      'agent/host/boot-directory.ts:isUsed:readdirSync',
      'agent/host/boot-directory.ts:link:rmSync',
      'agent/host/exec-program.ts:ExecProgram.started.done:close',
      'agent/host/exec-program.ts:ExecProgram.started:close',
      'agent/host/exec-program.ts:ExecProgram.started:watch',
      'agent/host/terminal.ts:TerminalSession.#leave:kill#2',
      'agent/images/unpack-child.ts:endLeftChild:readFile',
      'agent/local-api/server.ts:serveLocalApi.stop.letGo:closeAllConnections',
      'agent/logs/generations.ts:openGeneration:close',
      'agent/logs/reader.ts:Arrival.close:close',
      'agent/logs/reader.ts:Reading.#beginAt:close',
      'agent/logs/reader.ts:Reading.#moveTo:close',
      'agent/logs/reader.ts:Reading.end:close#2',
      'agent/logs/reader.ts:Reading.next:close',
      'agent/logs/reader.ts:watchFolder:watch',
      'agent/logs/rotated-files.ts:RotatedFiles.#prepareNext:rmSync',
      'isolators/disk.ts:measureFiles:lstat',
      'isolators/cgroup2/population.ts:',
      'isolators/cgroup2/tree.ts:isPopulated:readFile',
      'agent/host/boot-time.ts:systemBootClock.nowMs:readFileSync',
      'agent/rebuild.ts:',
      'isolators/disk.ts:names:opendir',
      'isolators/runtime/oci/conmon.ts:endGroup:kill',
      'isolators/runtime/oci/process-table.ts:killGroup:kill'
    ]
  }
]
