/** Messages of generic netlink, byte by byte, and what an answer may not do. */
import * as assert from 'uvu/assert';
import { attribute, message, parseFeatures } from '../../../src/driver/xdp/netlink.js';
import { suite } from '../../support/suite.js';

const netlink = suite('AF_XDP, netlink');

// linux/netlink.h and linux/genetlink.h; the request of `genl ctrl get name netdev`.
netlink('a request: header, command, one attribute, padded', () => {
  const bytes = message(0x10, 3, 2, 2, new TextEncoder().encode('netdev\0'));
  assert.is(
    Buffer.from(bytes).toString('hex'),
    `${'20000000'}${'1000'}${'0100'}${'0000000000000000'}${'03020000'}${'0b000200'}${'6e6574646576000'}${'0'}00`.slice(
      0,
      64,
    ),
  );
});

/** An answer with these attributes. */
function answer(
  ...attributes: readonly (readonly [length: number, type: number, value: number])[]
): DataView {
  const view = new DataView(new ArrayBuffer(20 + 12 * attributes.length));
  for (const [i, [length, type, value]] of attributes.entries()) {
    view.setUint16(20 + 12 * i, length, true);
    view.setUint16(22 + 12 * i, type, true);
    view.setUint32(24 + 12 * i, value, true);
  }
  return view;
}

netlink('an attribute is found by its type, whatever comes before it', () => {
  const view = answer([12, 1, 7], [10, 9, 8], [12, 3, 0x2b]);
  assert.is(attribute(view, 3)?.getUint32(0, true), 0x2b);
  assert.is(attribute(view, 9)?.byteLength, 6);
  assert.is(attribute(view, 4), undefined);
});

netlink('a length that cannot be ends the search', () => {
  for (const length of [0, 3, 13, 0xffff])
    assert.is(attribute(answer([length, 3, 1]), 3), undefined, `${length}`);
});

netlink('features of drivers', () => {
  assert.equal(parseFeatures(0), { native: false, zeroCopy: false });
  assert.equal(parseFeatures(0x23), { native: true, zeroCopy: false });
  assert.equal(parseFeatures(0x0b), { native: true, zeroCopy: true });
  assert.equal(parseFeatures(0x01), { native: false, zeroCopy: false });
});

netlink.run();
