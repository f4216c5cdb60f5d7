import { metricsContentType } from '../node-health/metrics-text.ts'
import type { Top } from '../node-health/top.ts'
import type { LocalResponse } from '../ports.ts'
import type { NodeIsolators } from '../wall-report.ts'
import { jsonResponse } from './responses.ts'
import type { RouteCall } from './router.ts'

/** What the local API tells of the node itself. */
export interface NodeSource {
  top(signal: AbortSignal): Promise<Top>
  /** Prometheus text. */
  metrics(): Promise<string>
  isolators(): Promise<NodeIsolators>
}

/** `GET /v1/health?refresh=true` looks at everything first. */
export async function healthRoute(
  health: (refresh: boolean) => Promise<Readonly<Record<string, unknown>>>,
  call: RouteCall
): Promise<LocalResponse> {
  return jsonResponse(200, await health(call.query.get('refresh') === 'true'))
}

export function nodeRoutes(
  node: NodeSource
): readonly (readonly [string, string, (call: RouteCall) => Promise<LocalResponse>])[] {
  return [
    ['GET', '/v1/top', async (call) => jsonResponse(200, await node.top(call.signal))],
    ['GET', '/v1/isolators', async () => jsonResponse(200, await node.isolators())],
    ['GET', '/metrics', async () => textResponse(await node.metrics())]
  ]
}

const textResponse = (text: string): LocalResponse => ({
  status: 200,
  contentType: metricsContentType,
  body: (async function* () {
    yield Buffer.from(text)
  })()
})
