/*
 * The peer: a forwarder in C after the published algorithm and memory layout of ixy (https://github.com/emmericp/ixy,
 * "User Space Network Drivers", ANCS 2019), written for this benchmark. Like ixy: a 64-byte header in front of each
 * packet with its physical address, its mempool and its length; a mempool that is a stack of indices; arrays of
 * pointers; one tail write a batch; cleaning in steps of 32; RS on every descriptor.
 *
 * It is built with everything in one file at -O2 -march=native, so the compiler may inline what in ixy are calls
 * between files. Where it differs from ixy it is at an advantage.
 */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "lockstep.h"

#define CLEAN_BATCH 32
#define MAX_BATCH 256
#define HEADER_BYTES 64

struct mempool;

struct packet {
    uintptr_t physical;
    struct mempool *mempool;
    uint32_t index;
    uint32_t size;
    uint8_t head_room[HEADER_BYTES - 24];
    uint8_t data[] __attribute__((aligned(64)));
};

_Static_assert(sizeof(struct packet) == HEADER_BYTES, "the header is one cache line");

struct mempool {
    void *base;
    uint32_t buffer_bytes;
    uint32_t entries;
    uint32_t top;
    uint32_t free[];
};

struct rx_queue {
    volatile union descriptor *ring;
    volatile uint32_t *tail;
    struct mempool *mempool;
    uint16_t entries;
    uint16_t index;
    void *packets[];
};

struct tx_queue {
    volatile union descriptor *ring;
    volatile uint32_t *tail;
    uint16_t entries;
    uint16_t clean;
    uint16_t index;
    void *packets[];
};

struct peer {
    struct rx_queue *rx[2];
    struct tx_queue *tx[2];
    struct mempool *mempool[2];
};

static inline void write_register(volatile uint32_t *reg, uint32_t value) {
    __asm__ volatile("" : : : "memory");
    *reg = value;
}

static inline uint16_t next_slot(uint16_t slot, uint16_t entries) { return (uint16_t)((slot + 1) & (entries - 1)); }

static struct packet *packet_alloc(struct mempool *mempool) {
    if (mempool->top == 0) return NULL;
    const uint32_t index = mempool->free[--mempool->top];
    return (struct packet *)((uint8_t *)mempool->base + (uint64_t)index * mempool->buffer_bytes);
}

static void packet_free(struct packet *packet) {
    struct mempool *mempool = packet->mempool;
    mempool->free[mempool->top++] = packet->index;
}

static uint32_t rx_batch(struct rx_queue *queue, struct packet *packets[], uint32_t count) {
    uint16_t index = queue->index;
    uint16_t last = index;
    uint32_t received;
    for (received = 0; received < count; received++) {
        volatile union descriptor *descriptor = &queue->ring[index];
        const uint32_t status = descriptor->word2;
        if (!(status & RX_DD)) break;
        if (!(status & RX_EOP)) abort();
        struct packet *packet = queue->packets[index];
        packet->size = descriptor->word3 & 0xffff;
        struct packet *fresh = packet_alloc(queue->mempool);
        if (fresh == NULL) abort();
        descriptor->packet = fresh->physical + HEADER_BYTES;
        descriptor->header = 0;
        queue->packets[index] = fresh;
        packets[received] = packet;
        last = index;
        index = next_slot(index, queue->entries);
    }
    if (index != last) {
        write_register(queue->tail, last);
        queue->index = index;
    }
    return received;
}

static uint32_t tx_batch(struct tx_queue *queue, struct packet *packets[], uint32_t count) {
    uint16_t clean = queue->clean;
    uint16_t index = queue->index;
    for (;;) {
        int32_t cleanable = index - clean;
        if (cleanable < 0) cleanable += queue->entries;
        if (cleanable < CLEAN_BATCH) break;
        int32_t upto = clean + CLEAN_BATCH - 1;
        if (upto >= queue->entries) upto -= queue->entries;
        if (!(queue->ring[upto].word3 & TX_DD)) break;
        for (int32_t slot = clean;; slot = next_slot((uint16_t)slot, queue->entries)) {
            packet_free(queue->packets[slot]);
            if (slot == upto) break;
        }
        clean = next_slot((uint16_t)upto, queue->entries);
    }
    queue->clean = clean;
    uint32_t sent;
    for (sent = 0; sent < count; sent++) {
        const uint16_t next = next_slot(index, queue->entries);
        if (clean == next) break;
        struct packet *packet = packets[sent];
        queue->packets[index] = packet;
        volatile union descriptor *descriptor = &queue->ring[index];
        descriptor->address = packet->physical + HEADER_BYTES;
        descriptor->word2 = TX_EOP | TX_RS | TX_IFCS | TX_DEXT | TX_DTYP_DATA | packet->size;
        descriptor->word3 = packet->size << TX_PAYLEN_SHIFT;
        index = next;
    }
    queue->index = index;
    write_register(queue->tail, index);
    return sent;
}

static inline __attribute__((always_inline)) void forward(struct rx_queue *rx, struct tx_queue *tx, uint32_t batch,
                                                          int look) {
    struct packet *packets[MAX_BATCH];
    const uint32_t received = rx_batch(rx, packets, batch);
    if (received == 0) return;
    uint32_t kept = received;
    if (look) {
        kept = 0;
        for (uint32_t i = 0; i < received; i++) {
            if (is_blocked(packets[i]->data)) packet_free(packets[i]);
            else packets[kept++] = packets[i];
        }
    } else {
        for (uint32_t i = 0; i < received; i++) packets[i]->data[48]++;
    }
    const uint32_t sent = tx_batch(tx, packets, kept);
    for (uint32_t i = sent; i < kept; i++) packet_free(packets[i]);
}

/* Fisher and Yates, the same each time. */
static void shuffle(uint32_t *free, uint32_t entries) {
    uint32_t random = 1;
    for (uint32_t i = entries - 1; i > 0; i--) {
        random = random * 1664525 + 1013904223;
        const uint32_t other = (uint32_t)(((uint64_t)random * (i + 1)) >> 32);
        const uint32_t index = free[i];
        free[i] = free[other];
        free[other] = index;
    }
}

static struct mempool *mempool_new(uint8_t *base, uint64_t iova, uint32_t entries, uint32_t buffer_bytes,
                                   int shuffled) {
    struct mempool *mempool = malloc(sizeof(*mempool) + entries * sizeof(uint32_t));
    mempool->base = base;
    mempool->buffer_bytes = buffer_bytes;
    mempool->entries = entries;
    mempool->top = entries;
    for (uint32_t i = 0; i < entries; i++) {
        mempool->free[i] = i;
        struct packet *packet = (struct packet *)(base + (uint64_t)i * buffer_bytes);
        packet->physical = iova + (uint64_t)i * buffer_bytes;
        packet->mempool = mempool;
        packet->index = i;
        packet->size = 0;
    }
    if (shuffled) shuffle(mempool->free, entries);
    return mempool;
}

/* A mempool for each receive queue, as ixy has; `memory` is cut in two halves for them. */
struct peer *peer_new(struct lab *lab) {
    struct peer *peer = calloc(1, sizeof(*peer));
    const uint32_t half = lab->buffers / 2;
    for (uint32_t i = 0; i < 2; i++) {
        const uint64_t offset = (uint64_t)i * half * lab->buffer_bytes;
        peer->mempool[i] = mempool_new(lab->memory + offset, lab->iova + offset, half, lab->buffer_bytes,
                                      lab->shuffled);
        struct rx_queue *rx = calloc(1, sizeof(*rx) + lab->ring_size * sizeof(void *));
        rx->ring = lab->port[i].rx;
        rx->tail = lab->port[i].rdt;
        rx->mempool = peer->mempool[i];
        rx->entries = (uint16_t)lab->ring_size;
        for (uint32_t slot = 0; slot < lab->ring_size; slot++) {
            struct packet *packet = packet_alloc(rx->mempool);
            rx->ring[slot].packet = packet->physical + HEADER_BYTES;
            rx->ring[slot].header = 0;
            rx->packets[slot] = packet;
        }
        write_register(rx->tail, lab->ring_size - 1);
        peer->rx[i] = rx;
        struct tx_queue *tx = calloc(1, sizeof(*tx) + lab->ring_size * sizeof(void *));
        tx->ring = lab->port[i].tx;
        tx->tail = lab->port[i].tdt;
        tx->entries = (uint16_t)lab->ring_size;
        peer->tx[i] = tx;
    }
    return peer;
}

void peer_free(struct peer *peer) {
    for (uint32_t i = 0; i < 2; i++) {
        free(peer->rx[i]);
        free(peer->tx[i]);
        free(peer->mempool[i]);
    }
    free(peer);
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* `polls` batches each way; returns the nanoseconds that took. */
double peer_run(struct peer *peer, int32_t polls, int32_t batch) {
    const double start = now_ns();
    for (int32_t i = 0; i < polls; i++) {
        forward(peer->rx[0], peer->tx[1], (uint32_t)batch, 0);
        forward(peer->rx[1], peer->tx[0], (uint32_t)batch, 0);
    }
    return now_ns() - start;
}

/* The same with the look at three fields in place of the touched byte. */
double peer_look_run(struct peer *peer, int32_t polls, int32_t batch) {
    const double start = now_ns();
    for (int32_t i = 0; i < polls; i++) {
        forward(peer->rx[0], peer->tx[1], (uint32_t)batch, 1);
        forward(peer->rx[1], peer->tx[0], (uint32_t)batch, 1);
    }
    return now_ns() - start;
}
