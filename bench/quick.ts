import { type Bench, SUBJECTS, type SubjectName } from './lab.js';

const names = (process.argv[2] ?? 'c-ixy,c-pipe,general').split(',') as SubjectName[];
const batches = (process.argv[3] ?? '1,8,32,128').split(',').map(Number);
const rounds = Number(process.argv[4] ?? 15);
const WINDOW = 192;

const median = (list: number[]): number => list.sort((a, b) => a - b)[list.length >> 1]!;
let overhead = Infinity;
for (let i = 0; i < 20000; i++) {
  const t = performance.now();
  overhead = Math.min(overhead, (performance.now() - t) * 1e6);
}
function round(b: Bench, batch: number, windows: number): number {
  const samples: number[] = [];
  for (let w = 0; w < windows; w++) {
    const count = b.lab.step(Math.max(WINDOW, batch));
    const before = b.lab.forwarded;
    const ns = b.subject.run(Math.ceil(count / batch));
    samples.push(ns / (2 * count));
    void before;
  }
  return median(samples);
}
const cells = batches.flatMap((batch) =>
  names.map((name) => ({ name, batch, bench: SUBJECTS[name](batch), results: [] as number[] })),
);
for (const c of cells) round(c.bench, c.batch, 300);
for (let r = 0; r < rounds; r++) for (const c of cells) c.results.push(round(c.bench, c.batch, 150));
console.log(process.version, 'clock', overhead);
for (const batch of batches) {
  const row = cells.filter((c) => c.batch === batch).map((c) => ({ n: c.name, m: median(c.results) }));
  const peer = row.find((r) => r.n === 'c-ixy')?.m ?? 1;
  console.log(
    String(batch).padStart(4),
    row.map((r) => `${r.n} ${r.m.toFixed(2)} (${(r.m / peer).toFixed(2)})`).join('  '),
  );
}
