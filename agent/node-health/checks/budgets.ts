import { type Check, rowsOf } from '../verdict.ts'

/** How much of something that the kernel counts is used up. */
export interface Budget {
  readonly used: number
  readonly limit: number
}

interface BudgetRule {
  readonly kind: string
  readonly what: string
  readonly remedy: string
  /** Shares of the limit. */
  readonly warning: number
  readonly failure?: number
}

const rules = {
  conntrack: {
    kind: 'conntrack',
    what: 'connections tracked',
    remedy: 'raise it: sysctl -w net.netfilter.nf_conntrack_max=…, and find who opens so many: conntrack -L',
    warning: 0.8,
    failure: 0.97
  },
  files: {
    kind: 'files',
    what: 'files open on the host',
    remedy: 'raise it: sysctl -w fs.file-max=…, and find who holds them: ls /proc/*/fd | wc -l',
    warning: 0.8,
    failure: 0.97
  },
  agentFiles: {
    kind: 'files.agent',
    what: 'files open in the agent',
    remedy: 'raise LimitNOFILE= of the agent’s unit and restart it; report it if it grows without new tasks',
    warning: 0.7,
    failure: 0.95
  },
  threads: {
    kind: 'threads',
    what: 'threads on the host',
    remedy: 'raise it: sysctl -w kernel.pid_max=… kernel.threads-max=…, and find who starts so many: hearth node top',
    warning: 0.8,
    failure: 0.97
  },
  inotifyInstances: {
    kind: 'inotify.instances',
    what: 'inotify instances of root',
    remedy: 'raise it: sysctl -w fs.inotify.max_user_instances=…; containers of root share it with the host',
    warning: 0.8,
    failure: 0.97
  },
  inotifyWatches: {
    kind: 'inotify.watches',
    what: 'inotify watches of root',
    remedy: 'raise it: sysctl -w fs.inotify.max_user_watches=…',
    warning: 0.8
  }
} as const satisfies Readonly<Record<string, BudgetRule>>

export type BudgetName = keyof typeof rules

/** `absent` tells why there is nothing to count: nothing wrong then. */
export function judgeBudget(name: BudgetName, budget: Budget | { readonly absent: string }): Check {
  const rule: BudgetRule = rules[name]
  const row = rowsOf(rule.kind)
  if ('absent' in budget) return row.ok(budget.absent)
  const { used, limit } = budget
  if (!Number.isFinite(used) || !Number.isFinite(limit) || limit <= 0) {
    return row.unknown('the kernel does not tell', 'mount /proc')
  }
  const share = used / limit
  const reason = `${used} of ${limit} ${rule.what} (${Math.floor(share * 100)} %)`
  if (rule.failure !== undefined && share >= rule.failure) return row.failure(reason, rule.remedy)
  return share >= rule.warning ? row.warning(reason, rule.remedy) : row.ok(reason)
}
