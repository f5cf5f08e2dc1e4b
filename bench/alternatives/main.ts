/** Measures the alternatives by themselves. `npm run bench` measures them with all the rest. */
import { writeFileSync } from 'node:fs';
import { describeRow, measureAlternatives } from './alternatives.js';

const rows = await measureAlternatives((row) => console.log(describeRow(row)));
if (process.argv[2] !== undefined) writeFileSync(process.argv[2], `${JSON.stringify(rows, null, 2)}\n`);
