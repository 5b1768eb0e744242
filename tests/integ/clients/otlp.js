// OpenTelemetry's two HTTP exporters, plain and with gzip: log records with resource, scope, trace and attributes.
'use strict';

const { ROOT_CONTEXT, trace, TraceFlags } = require('@opentelemetry/api');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const { config, text, millis, meant, fail } = require('./lines.js');

const severities = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const nanos = 123456;

async function run(service, first, Exporter, compression) {
	const exporter = new Exporter({ url: config.url + '/otlp/v1/logs', compression, timeoutMillis: 30000 });
	const send = exporter.export.bind(exporter);
	exporter.export = (records, done) => send(records, (result) => result.error ? fail(result.error) : done(result));
	const provider = new LoggerProvider({
		resource: resourceFromAttributes({ 'service.name': service, 'k8s.pod.name': 'pod-1', 'os.type': 'linux' }),
		processors: [new BatchLogRecordProcessor(exporter, { maxExportBatchSize: 100, maxQueueSize: 10000, scheduledDelayMillis: 20 })],
	});
	const logger = provider.getLogger('scope.name', '1.2.3');

	for (let n = first; n < first + config.lines; n++) {
		const seconds = Math.floor(millis(n) / 1000);
		const timestamp = [seconds, (millis(n) % 1000) * 1e6 + nanos];
		const name = severities[n % severities.length];
		const spanContext = n % 2 && { traceId: n.toString(16).padStart(32, 'a'), spanId: n.toString(16).padStart(16, 'b'), traceFlags: TraceFlags.SAMPLED };

		logger.emit({
			timestamp,
			observedTimestamp: [seconds, 0],
			severityNumber: SeverityNumber[name],
			severityText: name,
			body: text(n),
			attributes: { 'http.method': 'GET', count: n, ratio: 0.5, ok: true },
			context: spanContext ? trace.setSpanContext(ROOT_CONTEXT, spanContext) : ROOT_CONTEXT,
		});
		meant(n, text(n), { service_name: service, k8s_pod_name: 'pod-1' }, {
			os_type: 'linux', scope_name: 'scope.name', scope_version: '1.2.3', http_method: 'GET', count: String(n), ratio: '0.5', ok: 'true',
			severity_number: String(SeverityNumber[name]), severity_text: name, observed_timestamp: seconds + '000000000',
			...(spanContext && { trace_id: spanContext.traceId, span_id: spanContext.spanId, flags: '1' }),
		}, nanos);
	}
	await provider.forceFlush();
	await provider.shutdown();
}

(async () => {
	const { OTLPLogExporter: Json } = require('@opentelemetry/exporter-logs-otlp-http');
	const { OTLPLogExporter: Proto } = require('@opentelemetry/exporter-logs-otlp-proto');
	let first = 0;

	for (const [name, Exporter, compression] of [['json', Json, 'none'], ['json-gzip', Json, 'gzip'], ['proto', Proto, 'none'], ['proto-gzip', Proto, 'gzip']]) {
		await run('otlp-' + name, first, Exporter, compression);
		first += config.lines;
	}
})().catch(fail);
