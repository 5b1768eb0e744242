// What every client sends: numbered lines of all kinds, and the record of what was meant, one JSON object a line on
// stdout: {"ns","line","labels","metadata"}.  The Python side compares it with what the server gives back.
'use strict';

const texts = [
	'plain',
	'spaces  at the end  ',
	'"quotes" \\backslashes\\ and\ttabs',
	'first line\nsecond line\r\n\tat third (line.js:3)\n',
	'äöü ß – 日本語 עברית',
	'emoji \u{1f468}\u200d\u{1f469}\u200d\u{1f467} and \u{10ffff}',
	'control \u0001\u001b[31mred\u001b[0m\u007f',
	'<b>&amp;</b> {"json": [1, 2.5, null]} key=value %s {{.x}}',
	'long ' + 'x'.repeat(20000),
];

exports.config = JSON.parse(process.argv[2]);

exports.text = (n) => n + ' ' + texts[n % texts.length];

// One line each millisecond from a whole second on: a timestamp is an integer in every unit that a client uses.
exports.millis = (n) => exports.config.base_ms + n;

exports.meant = (n, line, labels, metadata, nanos) =>
	process.stdout.write(JSON.stringify({ ns: exports.millis(n) + String(nanos ?? 0).padStart(6, '0'), line, labels, metadata: metadata || {} }) + '\n');

exports.fail = (error) => {
	console.error(error);
	process.exit(1);
};
process.on('unhandledRejection', exports.fail);
