// A live tail with npm's ws: reads the counter lines "n 0", "n 1" ... from history into live and, whenever the connection ends,
// asks again from the last timestamp on.  Prints every line once it has come; exits 1 at a gap or a repeat, 0 at the goal.
'use strict';
const WebSocket = require('ws');
const { url, start, goal } = JSON.parse(process.argv[2]);
let next = 0, connects = 0;

function take(line) {
	if (line !== 'n ' + next) {
		console.error('expected n ' + next + ', got ' + line);
		process.exit(1);
	}
	if (++next === goal) {
		console.log(JSON.stringify({ lines: next, connects }));
		process.exit(0);
	}
}

function connect() {
	const q = new URLSearchParams({ query: '{app="count"}', start: String(BigInt(start) + BigInt(next)), limit: '5000' });
	const ws = new WebSocket(url + '/loki/api/v1/tail?' + q, { perMessageDeflate: true });
	let over = false;
	const again = () => {
		if (!over)
			setTimeout(connect, 20);
		over = true;
	};
	ws.on('open', () => { connects++; console.log('open'); });
	ws.on('message', (data) => {
		for (const s of JSON.parse(data).streams)
			for (const v of s.values)
				take(v[1]);
	});
	ws.on('close', again);
	ws.on('error', again);
}

connect();
