/**
 * A model of a NIC that nobody builds, to show how a model is written: one buffer each way, and six registers.
 *
 *     startEmulator({
 *       modules: [import.meta.resolve('./sample-nic.js')],
 *       nics: [{ path: '/tmp/sample.sock', deviceId: 0x5a01 }],
 *       links: [],
 *     });
 *
 * A driver writes the address of a buffer of 2 KiB to RX_LOW and RX_HIGH and 0 to RX_LENGTH; the NIC stores a frame there
 * and its length in RX_LENGTH, and raises MSI-X vector 0. To send, it writes the address to TX_LOW and TX_HIGH and then the
 * length to TX_LENGTH, which reads 0 when the frame is gone.
 */
import {
  block,
  ClassCode,
  type DeviceModel,
  DmaChannel,
  express,
  type FrameMemory,
  FrameQueue,
  frameMemory,
  iovaOf,
  MemoryBar,
  type ModelFamily,
  type ModelOptions,
  msix,
  NicModel,
  PciIrq,
  RegisterTable,
} from 'barewire/emulator';

/** Offsets in BAR0. */
const [RX_LOW, RX_HIGH, RX_LENGTH, TX_LOW, TX_HIGH, TX_LENGTH] = [0x00, 0x04, 0x08, 0x10, 0x14, 0x18];
const ID = { vendorId: 0x1d00, deviceId: 0x5a01 };
const BUFFER_BYTES = 2048;
const WAITING_BYTES = 64 * 1024;

const TABLE = new RegisterTable(
  [
    block('RX_LOW', RX_LOW, 'RW', '1.1'),
    block('RX_HIGH', RX_HIGH, 'RW', '1.1'),
    block('RX_LENGTH', RX_LENGTH, 'RW', '1.2', { reset: 1 }), // not 0: no buffer yet
    block('TX_LOW', TX_LOW, 'RW', '2.1'),
    block('TX_HIGH', TX_HIGH, 'RW', '2.1'),
    block('TX_LENGTH', TX_LENGTH, 'RW', '2.2', { reserved: 0xfffff000 }),
  ],
  { sizeBytes: 4096, listSection: '1', accessSection: '1' },
);

class SampleNic extends NicModel implements DeviceModel {
  readonly #fromHost = new DmaChannel('read', 'frame to send', this.violations);
  readonly #toHost = new DmaChannel('write', 'receive buffer', this.violations);
  readonly #waiting = new FrameQueue();
  readonly #frame = frameMemory(BUFFER_BYTES);
  readonly #counters = { received: 0, sent: 0, lost: 0 };

  constructor(options: ModelOptions) {
    const capabilities = [express(0x40, { generation: 1, lanes: 1 }), msix(0x80, 1, 2, 0x800)];
    super(
      {
        device: 'sample NIC',
        datasheet: 'sample NIC manual',
        table: TABLE,
        memoryBars: { 2: new MemoryBar(4096) },
        config: () => ({ ...ID, classCode: ClassCode.ETHERNET, capabilities }),
      },
      options,
    );
    this.#waiting.reset(WAITING_BYTES);
  }

  protected override onHost(): void {
    if (this.host !== undefined) return;
    this.#fromHost.end();
    this.#toHost.end();
  }

  protected override onReset(): void {
    this.#waiting.clear();
  }

  deliver(memory: FrameMemory, offsetBytes: number, lengthBytes: number): boolean {
    const taken = lengthBytes <= BUFFER_BYTES && this.#waiting.push(memory, offsetBytes, lengthBytes);
    if (!taken) this.#counters.lost++;
    return taken;
  }

  override damaged(): void {
    this.#counters.lost++;
  }

  room(): number {
    return Math.floor(this.#waiting.freeBytes / BUFFER_BYTES);
  }

  /** Where the work is done: the registers say what is due. */
  poll(): number {
    if (this.host === undefined || !this.busMaster) return 0;
    // Windows that were looked up before may be gone.
    this.#fromHost.begin(this.host);
    this.#toHost.begin(this.host);
    const moved = this.#send() + this.#receive();
    this.violations.raise();
    return moved;
  }

  #send(): number {
    const registers = this.registers;
    const length = registers.peek(TX_LENGTH);
    if (length === 0) return 0;
    registers.poke(TX_LENGTH, 0);
    if (length > BUFFER_BYTES) this.violations.report('TX_LENGTH', '2.2', 'a frame is longer than a buffer');
    else if (
      this.#fromHost.read(iovaOf(registers.peek(TX_LOW), registers.peek(TX_HIGH)), this.#frame, 0, length)
    ) {
      this.out?.deliver(this.#frame, 0, length);
      this.out?.flush();
      this.#counters.sent++;
    }
    return 1;
  }

  #receive(): number {
    const registers = this.registers;
    const waiting = this.#waiting;
    if (waiting.count === 0 || registers.peek(RX_LENGTH) !== 0) return 0;
    const iova = iovaOf(registers.peek(RX_LOW), registers.peek(RX_HIGH));
    const length = waiting.frontLength;
    // A buffer that the driver did not map is a fault, which the channel reports; the frame is lost.
    if (this.#toHost.write(iova, waiting.memory, waiting.frontOffset, length)) {
      registers.poke(RX_LENGTH, length);
      this.#counters.received++;
      this.host?.raiseInterrupt(PciIrq.MSIX, 0);
    } else this.#counters.lost++;
    waiting.pop();
    return 1;
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.#counters };
  }
}

const family: ModelFamily = {
  vendorId: ID.vendorId,
  devices: new Map([[ID.deviceId, 'sample NIC']]),
  create: (options) => new SampleNic(options),
};

/** What `startEmulator({ modules })` looks for. */
export const models = [family];
