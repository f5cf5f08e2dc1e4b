/**
 * iPXE, which has a driver of its own for the Intel 10 Gbit/s family, pings through each kind of NIC that the model can
 * be. Its driver uses legacy descriptors and polls.
 */
import * as assert from 'uvu/assert';
import type { NicOptions } from '../models/description.js';
import { ModelProcess } from '../models/process.js';
import { describeViolations } from '../models/report.js';
import { suite } from '../suite.js';
import { runIpxe } from '../vm.js';

const PEER = '10.9.0.1';
const PINGS = 5;

const SCRIPT = `#!ipxe
set net0/ip 10.9.0.2 && set net0/netmask 255.255.255.0 && ifopen net0 || goto end
ifstat net0
ping -c ${PINGS} ${PEER} && echo LAB-PING-OK || echo LAB-PING-FAILED
:end
sleep 1 # or the serial port loses what it was given last
poweroff
`;

/** Device IDs, and what iPXE calls them. */
const KINDS = [
  { deviceId: 0x10fb, name: '82599-sfp' },
  { deviceId: 0x10f7, name: '82599-kx4' },
  { deviceId: 0x1528, name: 'x540t' },
];

const ipxe = suite('iPXE on the model');

for (const [i, { deviceId, name }] of KINDS.entries()) {
  ipxe(`pings through 8086:${deviceId.toString(16)}, ${name}`, async () => {
    const mac = `52:54:00:00:00:0${i}`;
    const nic: NicOptions = { deviceId, mac, wire: { responder: PEER } };
    const models = await ModelProcess.start([nic]);
    const { console, qemuExit } = await runIpxe(models.nics[0]!, SCRIPT, 90);
    const report = await models.stop();
    assert.match(console, 'LAB-PING-OK', console);
    assert.is(qemuExit, 0, console);
    assert.match(console, `${mac} using ${name} on`);
    const { sent, pingsAnswered } = report.nics[0]!;
    assert.is(pingsAnswered, PINGS);
    assert.ok(sent.frames > PINGS, 'and asked for the address before');
    assert.equal(describeViolations(report), []);
  });
}

ipxe.run();
