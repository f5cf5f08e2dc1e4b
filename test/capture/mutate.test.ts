/** The short, repeatable version of mutate.ts: files of all kinds, made here. */
import { gzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { buildUdp } from '../../src/packet/transport-builder.js';
import { suite } from '../support/suite.js';
import { interfaceBlock, option, packetBlock, pcapFile, sectionHeader } from './make-capture.js';
import { type MutationResult, mutate, randomOf, readDamaged } from './mutate.js';

const MUTANTS = 600;

const damaged = suite('captures: thousands of faults');

const udp = buildUdp({
  sourceMac: '02:00:00:00:00:01',
  destinationMac: '02:00:00:00:00:02',
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  sourcePort: 53,
  destinationPort: 1053,
  payload: new Uint8Array(40),
});
const records = Array.from({ length: 8 }, (_, i) => ({ bytes: udp, seconds: i }));
const blocks = [true, false].map((littleEndian) =>
  Buffer.concat([
    sectionHeader(littleEndian),
    interfaceBlock({ littleEndian, options: [option(9, Uint8Array.of(9), littleEndian)] }),
    ...records.map(({ bytes }, i) => packetBlock(bytes, BigInt(i), { littleEndian })),
  ]),
);
const ORIGINALS = [
  pcapFile(records),
  pcapFile(records, { littleEndian: false, nanoseconds: true }),
  pcapFile(records, { patched: true }),
  ...blocks,
  Buffer.concat(blocks),
  gzipSync(pcapFile(records)),
];

damaged('each file ends, with frames that can be or one error', async () => {
  const result: MutationResult = { files: 0, frames: 0, refused: 0, damaged: 0 };
  const random = randomOf(82_599);
  for (let i = 0; i < MUTANTS; i++) {
    await readDamaged(mutate(ORIGINALS[i % ORIGINALS.length]!, random), 1 + random(300), result);
  }
  assert.is(result.files, MUTANTS);
  for (const count of [result.frames, result.refused, result.damaged])
    assert.ok(count > MUTANTS / 50, JSON.stringify(result));
});

damaged.run();
