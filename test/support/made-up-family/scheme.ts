/** `made-up:N` as an address: `open` and all commands take it. The machine has as many slots as tests plug cards into. */
import { addScheme } from '../../../src/driver/registry.js';
import { NicError } from '../../../src/errors.js';
import { MadeUpCard } from './card.js';
import { MadeUpDevice } from './device.js';

const slots = new Map<number, MadeUpCard>();

/** Plugs a new card into a slot, in place of the one that was there. */
export function plugIn(slot: number): MadeUpCard {
  const card = new MadeUpCard(Uint8Array.of(0x02, 0x4d, 0x55, 0, slot >>> 8, slot & 0xff));
  slots.set(slot, card);
  return card;
}

addScheme({
  name: 'made-up',
  form: 'made-up:SLOT',
  async open(rest, options) {
    const card = /^[0-9]{1,4}$/.test(rest) ? slots.get(Number(rest)) : undefined;
    const address = `made-up:${rest}`;
    if (card === undefined) {
      throw new NicError('NO_SUCH_DEVICE', `There is no card in slot ${rest}`, {
        path: address,
        hint: `Give one of ${Array.from(slots.keys(), (slot) => `made-up:${slot}`).join(', ')}.`,
      });
    }
    return new MadeUpDevice(card, address, options).start();
  },
});
