// pino with pino-loki: JSON by fetch (chunks or Content-Length as undici likes), several batches and one at the end.
'use strict';

const { once } = require('node:events');
const pino = require('pino');
const { pinoLoki } = require('pino-loki');
const { config, text, millis, meant, fail } = require('./lines.js');

const levels = [['trace', 10, 'debug'], ['debug', 20, 'debug'], ['info', 30, 'info'], ['warn', 40, 'warning'], ['error', 50, 'error'], ['fatal', 60, 'critical']];

async function run(app, first, raw) {
	let n = first;
	const stream = pinoLoki({
		host: config.url,
		batching: true,
		interval: 0.02,
		labels: { app },
		propsToLabels: ['zone'],
		structuredMetaKey: 'meta',
		logFormat: raw ? '{msg}' : undefined,
	});
	const log = pino({ level: 'trace', base: { hostname: 'host-1' }, timestamp: () => ',"time":' + millis(n) }, stream);

	for (; n < first + config.lines; n++) {
		const [name, number, label] = levels[n % levels.length];
		const meta = n % 3 ? { request: 'r' + n, note: text(n).slice(0, 200) } : undefined;
		const zone = n % 4 ? undefined : 'zone ' + (n % 8);
		const msg = text(n);

		log[name]({ zone, meta, n }, msg);
		meant(n, raw ? msg : JSON.stringify({ level: number, time: millis(n), zone, meta, n, msg }),
			{ app, level: label, hostname: 'host-1', ...(zone && { zone }) }, meta);
		if (n % 100 === 0)
			await new Promise((resolve) => setTimeout(resolve, 25));    // lets a batch go; its contents do not matter
	}
	stream.end();
	await once(stream, 'close');
}

console.error = (...args) => fail(args.join(' '));      // that is how pino-loki reports a refused push
run('pino', 0, false).then(() => run('pino-raw', config.lines, true)).catch(fail);
