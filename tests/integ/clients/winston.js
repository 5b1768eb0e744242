// winston with winston-loki: JSON with structured metadata, protobuf with snappy, and one request a line.
'use strict';

const winston = require('winston');
const LokiTransport = require('winston-loki');
const { config, text, millis, meant, fail } = require('./lines.js');

const levels = ['error', 'warn', 'info', 'http', 'verbose', 'debug', 'silly'];

async function run(app, first, count, options) {
	const transport = new LokiTransport({
		host: config.url,
		labels: { app, service: 'winston "quoted"'.replaceAll('"', options.json ? '"' : "'") },
		format: winston.format.printf((info) => info.message),
		interval: 0.02,
		timeout: 30000,
		replaceTimestamp: false,
		gracefulShutdown: false,
		onConnectionError: fail,
		...options,
	});
	const log = winston.createLogger({ level: 'silly', transports: [transport] });

	for (let n = first; n < first + count; n++) {
		const level = levels[n % levels.length];
		const message = text(n);

		log.log({ level, message, timestamp: millis(n), number: n, nested: { a: [1, null] }, labels: { shard: n % 3 + 1 } });
		// Its JSON form sends everything else as metadata, level too, which then stands beside the label of that name.
		meant(n, message, { app, service: transport.labels.service, level, shard: String(n % 3 + 1) },
			options.json && { level_extracted: level, number: String(n), nested: '{"a":[1,null]}' });
		if (n % 100 === 0)
			await new Promise((resolve) => setTimeout(resolve, 25));
	}
	await transport.flush();
	await transport.close();
}

run('winston-json', 0, config.lines, { json: true })
	.then(() => run('winston-proto', config.lines, config.lines, { json: false }))
	.then(() => run('winston-single', 2 * config.lines, 60, { json: true, batching: false }))
	.catch(fail);
