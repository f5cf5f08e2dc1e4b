/** A pipe on the 82599 model, in strict mode: port B sends back what it receives. */
import * as assert from 'uvu/assert';
import { connectQueues, type ForwardOptions } from '../../../src/forward/forwarder.js';
import { HANG_MS } from '../../support/hang.js';
import { IxgbeRig, MAC_A, MAC_B, numberedFrame } from '../../support/ixgbe-rig.js';
import { suite } from '../../support/suite.js';

const RING = 128;

type Path = NonNullable<ForwardOptions['path']>;

/** A rig whose port B echoes, with addresses swapped; wants no complaint from the models. */
function onEcho(
  body: (rig: IxgbeRig, echo: ReturnType<typeof connectQueues>) => Promise<void> | void,
  options: {
    readonly path?: Path;
    readonly drops?: (frame: Uint8Array) => boolean;
    readonly txRing?: number;
  } = {},
) {
  return async () => {
    const rig = await IxgbeRig.open({ open: { txRingSize: options.txRing ?? RING } });
    try {
      const { nic } = rig.b;
      const onPacket = (packet: number, length: number): number => {
        const frame = rig.pool.bytes(packet);
        if (options.drops?.(frame)) return 0;
        frame.set(MAC_A, 0);
        frame.set(MAC_B, 6);
        return length;
      };
      const path = options.path ?? 'auto';
      await body(rig, connectQueues(nic.rxQueues[0]!, nic.txQueues[0]!, { path, onPacket }));
    } finally {
      await rig.close();
    }
    assert.equal(rig.complaints(), []);
  };
}

const number = (frame: Uint8Array): number => (frame[14]! << 8) | frame[15]!;
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Sends frames from A in bursts and returns what comes back. */
function exchange(rig: IxgbeRig, echo: { poll(): number }, count: number): Uint8Array[] {
  const back: Uint8Array[] = [];
  for (let first = 0; first < count; first += 40) {
    const numbers = range(count).slice(first, first + 40);
    rig.send(
      rig.a,
      numbers.map((i) => numberedFrame(MAC_B, MAC_A, i, 60 + (i % 1455))),
    );
    for (let round = 0; round < 4; round++) {
      rig.settle();
      echo.poll();
    }
    rig.settle();
    back.push(...rig.receive(rig.a));
  }
  return back;
}

const pipe = suite('pipe on the 82599 model');

for (const path of ['pipe', 'general'] as const) {
  pipe(
    `${path}: 2000 frames of all lengths come back in order`,
    onEcho(
      (rig, echo) => {
        assert.is(echo.path, path);
        const back = exchange(rig, echo, 2000);
        assert.equal(
          back,
          range(2000).map((i) => numberedFrame(MAC_A, MAC_B, i, 60 + (i % 1455))),
        );
        const { rxPackets, txPackets, wireTxPackets, rxDamaged } = rig.b.nic.stats();
        assert.equal([rxPackets, txPackets, wireTxPackets, rxDamaged], [2000, 2000, 2000, 0]);
      },
      { path },
    ),
  );
}

pipe(
  'dropped frames are transmitted as nothing, whole groups of them too',
  onEcho(
    (rig, echo) => {
      const kept = range(1000).filter((i) => i % 3 !== 0 && (i & 64) === 0);
      const back = exchange(rig, echo, 1000);
      assert.equal(back.map(number), kept);
      assert.is(echo.dropped, 1000 - kept.length);
      const { rxPackets, txPackets, wireTxPackets } = rig.b.nic.stats();
      assert.equal([rxPackets, txPackets, wireTxPackets], [1000, kept.length, kept.length]);
    },
    { drops: (frame) => number(frame) % 3 === 0 || (number(frame) & 64) !== 0 },
  ),
);

pipe(
  'a full transmit ring: frames wait at every place there is, and leave in order',
  onEcho(async (rig, echo) => {
    // Port A does not receive, and the link is lossless: its ring fills, then the pipe's, then A's transmit ring.
    const sent: number[] = [];
    for (let round = 0; round < 40; round++) {
      const first = sent.length;
      const burst = range(16).map((i) => numberedFrame(MAC_B, MAC_A, first + i));
      const taken = rig.send(rig.a, burst);
      sent.push(...range(taken).map((i) => first + i));
      rig.settle();
      echo.poll();
    }
    assert.ok(sent.length > 3 * (RING - 33), `${sent.length} frames are under way`);
    assert.is(echo.poll(), 0);
    // No interrupt can tell when there is room again, so it must not sleep for long.
    let late = false;
    const timer = setTimeout(() => {
      late = true;
    }, 500);
    assert.is(await rig.b.nic.waitForPackets({ timeoutMs: 1000 }), false);
    assert.not.ok(late, 'the wait was shorter than was asked for');
    clearTimeout(timer);
    const back: Uint8Array[] = [];
    for (let round = 0; round < 100 && back.length < sent.length; round++) {
      back.push(...rig.receive(rig.a));
      rig.settle();
      echo.poll();
    }
    assert.equal(back.map(number), sent);
    assert.is(echo.dropped, 0);
  }),
);

pipe(
  'the link goes down and up: traffic goes on, and the counts are right',
  onEcho((rig, echo) => {
    assert.is(exchange(rig, echo, 100).length, 100);
    rig.send(
      rig.a,
      range(50).map((i) => numberedFrame(MAC_B, MAC_A, i)),
    );
    rig.settle();
    rig.link.setCarrier(false);
    for (let round = 0; round < 4; round++) {
      echo.poll();
      rig.settle();
    }
    assert.not.ok(rig.b.nic.linkState().up);
    rig.link.setCarrier(true);
    rig.settle();
    rig.receive(rig.a);
    assert.is(exchange(rig, echo, 400).length, 400);
    const { rxPackets, txPackets } = rig.b.nic.stats();
    assert.equal([rxPackets, txPackets], [550, 550]);
  }),
);

pipe(
  'rings of different sizes: the general path, and a clear error for who insists',
  onEcho(
    (rig, echo) => {
      assert.is(echo.path, 'general');
      const { nic } = rig.b;
      assert.throws(
        () => connectQueues(nic.rxQueues[0], nic.txQueues[0], { path: 'pipe' }),
        /No pipe is possible.*256/,
      );
      assert.is(exchange(rig, echo, 200).length, 200);
    },
    { txRing: 256 },
  ),
);

pipe(
  'closing with frames in flight gives every buffer back',
  onEcho((rig, echo) => {
    rig.send(
      rig.a,
      range(50).map((i) => numberedFrame(MAC_B, MAC_A, i)),
    );
    rig.settle();
    assert.is(echo.poll(), 32);
  }),
);

pipe(
  'waiting for packets wakes a pipe',
  onEcho(async (rig, echo) => {
    assert.not.ok(rig.b.nic.rxQueues[0]!.pending);
    const wait = rig.b.nic.waitForPackets({ timeoutMs: HANG_MS });
    rig.send(rig.a, [numberedFrame(MAC_B, MAC_A, 7)]);
    rig.settle();
    assert.ok(await wait);
    assert.ok(rig.b.nic.rxQueues[0]!.pending);
    assert.is(echo.poll(), 1);
    assert.not.ok(rig.b.nic.rxQueues[0]!.pending);
  }),
);

pipe.run();
