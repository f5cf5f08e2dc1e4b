/*
 * The pipe in C, as the limit of what the TypeScript pipe can reach: receive slot i and transmit slot i share a buffer
 * (after the "agent" of TinyNF), RS on every 32nd slot, the receive slots of a group are armed again when the group has
 * left. It handles what the benchmark's device does and no more: no drops, no damaged frames.
 */
#include <stdlib.h>
#include <time.h>

#include "lockstep.h"

#define GROUP 32

struct half {
    volatile union descriptor *rx;
    volatile union descriptor *tx;
    volatile uint32_t *rdt;
    volatile uint32_t *tdt;
    uint8_t *memory;
    uint64_t iova;
    uint32_t mask;
    uint32_t next;
    uint32_t clean;
    uint64_t address[];
};

struct c_pipe {
    struct half *half[2];
};

static inline __attribute__((always_inline)) void pipe_batch(struct half *half, uint32_t batch, int look) {
    const uint32_t mask = half->mask;
    uint32_t slot = half->next;
    uint32_t clean = half->clean;
    while (((slot - clean) & mask) >= GROUP && (half->tx[clean + GROUP - 1].word3 & TX_DD)) {
        half->tx[clean + GROUP - 1].address = half->address[clean + GROUP - 1];
        clean = (clean + GROUP) & mask;
    }
    if (clean != half->clean) {
        half->clean = clean;
        __asm__ volatile("" : : : "memory");
        *half->rdt = (clean - 1) & mask;
    }
    const uint32_t first = slot;
    for (uint32_t i = 0; i < batch; i++) {
        volatile union descriptor *rx = &half->rx[slot];
        if ((rx->word2 & (RX_DD | RX_EOP)) != (RX_DD | RX_EOP)) break;
        const uint32_t length = rx->word3 & 0xffff;
        const uint64_t address = half->address[slot];
        const uint32_t report = (((slot & (GROUP - 1)) + 1) & GROUP) << 22;
        volatile union descriptor *tx = &half->tx[slot];
        if (look && is_blocked(half->memory + (address - half->iova))) {
            tx->word2 = TX_EOP | TX_IFCS | report;
            tx->word3 = 0;
        } else {
            if (!look) half->memory[address - half->iova + 48]++;
            tx->word2 = TX_DTYP_DATA | TX_EOP | TX_IFCS | TX_DEXT | length | report;
            tx->word3 = length << TX_PAYLEN_SHIFT;
        }
        rx->packet = address;
        rx->header = 0;
        slot = (slot + 1) & mask;
    }
    if (slot != first) {
        half->next = slot;
        __asm__ volatile("" : : : "memory");
        *half->tdt = slot;
    }
}

struct c_pipe *c_pipe_new(struct lab *lab) {
    struct c_pipe *pipe = calloc(1, sizeof(*pipe));
    for (uint32_t i = 0; i < 2; i++) {
        struct half *half = calloc(1, sizeof(*half) + lab->ring_size * sizeof(uint64_t));
        half->rx = lab->port[i].rx;
        half->tx = lab->port[1 - i].tx;
        half->rdt = lab->port[i].rdt;
        half->tdt = lab->port[1 - i].tdt;
        half->memory = lab->memory;
        half->iova = lab->iova;
        half->mask = lab->ring_size - 1;
        for (uint32_t slot = 0; slot < lab->ring_size; slot++) {
            half->address[slot] = lab->iova + (uint64_t)(i * lab->ring_size + slot) * lab->buffer_bytes;
            half->rx[slot].packet = half->address[slot];
            half->rx[slot].header = 0;
            half->tx[slot].address = half->address[slot];
        }
        *half->rdt = lab->ring_size - 1;
        pipe->half[i] = half;
    }
    return pipe;
}

void c_pipe_free(struct c_pipe *pipe) {
    free(pipe->half[0]);
    free(pipe->half[1]);
    free(pipe);
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

double c_pipe_run(struct c_pipe *pipe, int32_t polls, int32_t batch) {
    const double start = now_ns();
    for (int32_t i = 0; i < polls; i++) {
        pipe_batch(pipe->half[0], (uint32_t)batch, 0);
        pipe_batch(pipe->half[1], (uint32_t)batch, 0);
    }
    return now_ns() - start;
}

/* The same with the look at three fields in place of the touched byte. */
double c_pipe_look_run(struct c_pipe *pipe, int32_t polls, int32_t batch) {
    const double start = now_ns();
    for (int32_t i = 0; i < polls; i++) {
        pipe_batch(pipe->half[0], (uint32_t)batch, 1);
        pipe_batch(pipe->half[1], (uint32_t)batch, 1);
    }
    return now_ns() - start;
}
