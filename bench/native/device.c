/*
 * The device: fills receive rings and completes transmit rings when it is told to, and never on its own (lockstep), so
 * that a forwarder can be timed without it. It checks what no NIC checks:
 *
 *   - frames leave in the order they arrived, none missing, none twice (their numbers are in the frames);
 *   - each transmit descriptor points at a buffer that a receive descriptor delivered, at the frame's first byte;
 *   - no buffer is armed for receive while it carries a frame, and none is delivered twice;
 *   - every field of a transmit descriptor has its value, and the length is the frame's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lockstep.h"

struct lab *lab_new(uint8_t *memory, uint64_t iova, uint32_t buffers, uint32_t buffer_bytes, uint32_t data_offset,
                    uint32_t ring_size) {
    struct lab *lab = calloc(1, sizeof(*lab));
    lab->memory = memory;
    lab->iova = iova;
    lab->buffers = buffers;
    lab->buffer_bytes = buffer_bytes;
    lab->data_offset = data_offset;
    lab->ring_size = ring_size;
    lab->frame_bytes = FRAME_BYTES_MIN;
    lab->busy = calloc(1, buffers);
    return lab;
}

void lab_port(struct lab *lab, uint32_t port, void *rx, void *tx, void *rdt, void *tdt) {
    lab->port[port].rx = rx;
    lab->port[port].tx = tx;
    lab->port[port].rdt = rdt;
    lab->port[port].tdt = tdt;
}

void lab_free(struct lab *lab) {
    free(lab->busy);
    free(lab);
}

void lab_fault(struct lab *lab, int32_t fault) { lab->fault = (enum fault)fault; }

void lab_frame_bytes(struct lab *lab, uint32_t frame_bytes) { lab->frame_bytes = frame_bytes; }

void lab_shuffled(struct lab *lab) { lab->shuffled = 1; }

/* Reads memory of this size, a cache line at a time, so that nothing else is left in the caches. */
uint32_t lab_walk(const uint8_t *memory, uint32_t bytes) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < bytes; i += 64) sum += memory[i];
    return sum;
}

const char *lab_error(struct lab *lab) { return lab->error; }

/* Frames that have left both ports. */
double lab_forwarded(struct lab *lab) { return (double)(lab->port[0].next_out + lab->port[1].next_out); }

/* Frames that have arrived at both ports. */
double lab_received(struct lab *lab) { return (double)(lab->port[0].next_in + lab->port[1].next_in); }

double lab_missed(struct lab *lab) { return (double)(lab->port[0].missed + lab->port[1].missed); }

/* Receives up to `count` frames at a port; those that find no descriptor are lost. Returns how many arrived, or -1. */
static int32_t arrive(struct lab *lab, uint32_t index, int32_t count) {
    struct port *port = &lab->port[index];
    const uint32_t mask = lab->ring_size - 1;
    const uint32_t tail = *port->rdt;
    uint32_t head = port->rx_head;
    int32_t arrived = 0;
    if (tail > mask) return FAIL("port %u: RDT is %u", index, tail);
    while (arrived < count && head != tail) {
        volatile union descriptor *descriptor = &port->rx[head];
        const int64_t buffer = buffer_at(lab, descriptor->packet);
        if (buffer < 0) return FAIL("port %u: receive slot %u points at no buffer", index, head);
        /* With one buffer a packet only bit 0 of the header address counts: it is where DD will be. */
        if (descriptor->word2 != 0) return FAIL("port %u: receive slot %u was not cleared", index, head);
        if (lab->busy[buffer]) return FAIL("port %u: receive slot %u has a buffer in use", index, head);
        lab->busy[buffer] = 1;
        write_frame(lab, buffer, port->next_in++ * 2 + index);
        /* What the hardware leaves: packet type, a hash, length and a VLAN tag; DD last. */
        descriptor->address = 0xfeedbeef00000001;
        descriptor->word3 = lab->frame_bytes | 0x00a50000;
        descriptor->word2 = RX_DD | RX_EOP | 1u << 16;
        head = (head + 1) & mask;
        arrived++;
    }
    port->missed += (uint64_t)(count - arrived);
    port->rx_head = head;
    return arrived;
}

/* Sends up to `count` queued frames of a port. Returns how many, or -1. */
static int32_t leave(struct lab *lab, uint32_t index, int32_t count) {
    struct port *port = &lab->port[index];
    const uint32_t mask = lab->ring_size - 1;
    const uint32_t tail = *port->tdt;
    uint32_t head = port->tx_head;
    int32_t sent = 0;
    if (tail > mask) return FAIL("port %u: TDT is %u", index, tail);
    while (sent < count && head != tail) {
        volatile union descriptor *descriptor = &port->tx[head];
        uint64_t address = descriptor->address;
        uint32_t command = descriptor->word2;
        if (lab->fault == FAULT_WRONG_ADDRESS && port->next_out == 1000) address += lab->buffer_bytes;
        if (lab->fault == FAULT_WRONG_LENGTH && port->next_out == 1000) command ^= 1;
        const int64_t buffer = buffer_at(lab, address);
        if (buffer < 0) return FAIL("port %u: transmit slot %u points at no buffer", index, head);
        if (!lab->busy[buffer]) {
            return FAIL("port %u: transmit slot %u has a buffer that no receive slot delivered", index, head);
        }
        const uint32_t wanted = TX_DTYP_DATA | TX_EOP | TX_IFCS | TX_DEXT | lab->frame_bytes;
        if ((command & ~TX_RS) != wanted) return FAIL("port %u: transmit command 0x%08x", index, command);
        if (descriptor->word3 != lab->frame_bytes << TX_PAYLEN_SHIFT) {
            return FAIL("port %u: transmit status 0x%08x", index, descriptor->word3);
        }
        const uint64_t number = ((uint64_t *)frame_of(lab, buffer))[NUMBER_OFFSET / 8];
        const uint64_t expected = port->next_out++ * 2 + (1 - index);
        if (lab->fault == FAULT_SKIP_PACKET && port->next_out == 1000) port->next_out++;
        if (number != expected) {
            return FAIL("port %u: frame %llu left instead of %llu", index, (unsigned long long)number,
                        (unsigned long long)expected);
        }
        lab->busy[buffer] = 0;
        if (command & TX_RS) {
            /* All fields but STA are reserved in the write-back: nobody may rely on them. */
            descriptor->address = 0xdeadbeefdeadbeef;
            descriptor->word2 = 0xdeadbeef;
            descriptor->word3 = TX_DD;
        }
        port->payload_bytes += lab->frame_bytes;
        head = (head + 1) & mask;
        sent++;
    }
    port->tx_head = head;
    return sent;
}

/*
 * One step: sends up to `send` queued frames of each port, then receives up to `count` at each. Returns the larger
 * number of frames that arrived at a port, or -1 with the reason in lab_error.
 */
int32_t lab_step(struct lab *lab, int32_t send, int32_t count) {
    int32_t most = 0;
    for (uint32_t i = 0; i < 2; i++) {
        if (leave(lab, i, send) < 0) return -1;
    }
    for (uint32_t i = 0; i < 2; i++) {
        const int32_t arrived = arrive(lab, i, count);
        if (arrived < 0) return -1;
        if (arrived > most) most = arrived;
    }
    return most;
}

/* Checks every armed receive slot of both ports: its buffer carries no frame and no other armed slot has it. */
int32_t lab_check_armed(struct lab *lab) {
    uint8_t *seen = calloc(1, lab->buffers);
    int32_t result = 0;
    for (uint32_t index = 0; index < 2 && result == 0; index++) {
        struct port *port = &lab->port[index];
        for (uint32_t slot = port->rx_head; slot != *port->rdt; slot = (slot + 1) & (lab->ring_size - 1)) {
            const int64_t buffer = buffer_at(lab, port->rx[slot].packet);
            if (buffer < 0 || lab->busy[buffer] || seen[buffer]) {
                result = FAIL("port %u: armed receive slot %u has %s", index, slot,
                              buffer < 0 ? "no buffer" : seen[buffer] ? "the buffer of another" : "a buffer in use");
                break;
            }
            seen[buffer] = 1;
        }
    }
    free(seen);
    return result;
}
