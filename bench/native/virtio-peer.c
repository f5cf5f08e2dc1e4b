/*
 * The peer on virtqueues: a forwarder in C after the published virtio driver of ixy (https://github.com/emmericp/ixy), written
 * for this benchmark. Like ixy: a split ring, packets as in ixy-peer.c with the virtio header in their head room, a descriptor
 * is free where its address is 0, and looking for a free one begins at the front of the table. Unlike ixy: the modern header of
 * 12 bytes, and no fence or notification for each refilled descriptor, but one for each batch: an advantage.
 *
 * With `stack` free descriptors come from a stack instead: what ixy's algorithm could be.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virtio.h"

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
    uint32_t top;
    uint32_t free[];
};

struct ring {
    volatile struct split_descriptor *descriptors;
    volatile struct avail_ring *avail;
    volatile struct used_ring *used;
    volatile uint16_t *doorbell;
    struct mempool *mempool;
    uint32_t size;
    uint32_t buffer_bytes;
    uint16_t used_last;
    uint16_t number;
    /* Free descriptors, where they come from a stack. */
    int stack;
    uint32_t top;
    uint16_t *free;
    struct packet *packets[];
};

struct virtio_peer {
    struct ring *rx[2];
    struct ring *tx[2];
    struct mempool *mempool[2];
};

static inline void compiler_fence(void) { __asm__ volatile("" : : : "memory"); }

static struct packet *packet_alloc(struct mempool *mempool) {
    if (mempool->top == 0) return NULL;
    const uint32_t index = mempool->free[--mempool->top];
    return (struct packet *)((uint8_t *)mempool->base + (uint64_t)index * mempool->buffer_bytes);
}

static void packet_free(struct packet *packet) { packet->mempool->free[packet->mempool->top++] = packet->index; }

/* Makes `count` descriptors available, and notifies the device where it wants that. */
static void publish(struct ring *ring, uint32_t count) {
    compiler_fence();
    ring->avail->idx = (uint16_t)(ring->avail->idx + count);
    __sync_synchronize();
    if ((ring->used->flags & 1) == 0) *ring->doorbell = ring->number;
}

static void release(struct ring *ring, uint32_t id) {
    ring->descriptors[id].address = 0;
    ring->descriptors[id].length = 0;
    ring->packets[id] = NULL;
    if (ring->stack) ring->free[ring->top++] = (uint16_t)id;
}

/* A free descriptor; `from` is where looking for it begins. Returns `size` where there is none. */
static uint32_t find_free(struct ring *ring, uint32_t from) {
    if (ring->stack) return ring->top == 0 ? ring->size : ring->free[--ring->top];
    uint32_t id = from;
    while (id < ring->size && ring->descriptors[id].address != 0) id++;
    return id;
}

static void arm(struct ring *ring, uint32_t id, struct packet *packet, uint32_t offset) {
    memset((uint8_t *)packet->data - NET_HEADER_BYTES, 0, NET_HEADER_BYTES);
    ring->packets[id] = packet;
    ring->descriptors[id].address = packet->physical + HEADER_BYTES - NET_HEADER_BYTES;
    ring->avail->ring[(ring->avail->idx + offset) & (ring->size - 1)] = (uint16_t)id;
}

static uint32_t refill(struct ring *ring) {
    uint32_t filled = 0;
    for (uint32_t id = find_free(ring, 0); id < ring->size; id = find_free(ring, id + 1)) {
        struct packet *packet = packet_alloc(ring->mempool);
        if (packet == NULL) abort();
        arm(ring, id, packet, filled++);
        ring->descriptors[id].length = ring->buffer_bytes - HEADER_BYTES + NET_HEADER_BYTES;
        ring->descriptors[id].flags = DESC_WRITE;
    }
    if (filled > 0) publish(ring, filled);
    return filled;
}

static uint32_t rx_batch(struct ring *ring, struct packet *packets[], uint32_t count) {
    uint32_t received;
    for (received = 0; received < count; received++) {
        if (ring->used->idx == ring->used_last) break;
        compiler_fence();
        volatile struct used_element *element = &ring->used->ring[ring->used_last & (ring->size - 1)];
        const uint32_t id = element->id;
        if (ring->descriptors[id].flags != DESC_WRITE) abort();
        struct packet *packet = ring->packets[id];
        packet->size = element->length - NET_HEADER_BYTES;
        packets[received] = packet;
        release(ring, id);
        ring->used_last++;
    }
    if (received > 0) refill(ring);
    return received;
}

static uint32_t tx_batch(struct ring *ring, struct packet *packets[], uint32_t count) {
    while (ring->used->idx != ring->used_last) {
        compiler_fence();
        const uint32_t id = ring->used->ring[ring->used_last & (ring->size - 1)].id;
        packet_free(ring->packets[id]);
        release(ring, id);
        ring->used_last++;
    }
    uint32_t sent;
    uint32_t id = 0;
    for (sent = 0; sent < count; sent++) {
        id = find_free(ring, id);
        if (id == ring->size) break;
        struct packet *packet = packets[sent];
        arm(ring, id, packet, sent);
        ring->descriptors[id].length = packet->size + NET_HEADER_BYTES;
        ring->descriptors[id].flags = 0;
    }
    if (sent > 0) publish(ring, sent);
    return sent;
}

static void forward(struct ring *rx, struct ring *tx, uint32_t batch) {
    struct packet *packets[MAX_BATCH];
    const uint32_t received = rx_batch(rx, packets, batch);
    if (received == 0) return;
    for (uint32_t i = 0; i < received; i++) packets[i]->data[48]++;
    const uint32_t sent = tx_batch(tx, packets, received);
    for (uint32_t i = sent; i < received; i++) packet_free(packets[i]);
}

static struct mempool *mempool_new(uint8_t *base, uint64_t iova, uint32_t entries, uint32_t buffer_bytes) {
    struct mempool *mempool = malloc(sizeof(*mempool) + entries * sizeof(uint32_t));
    mempool->base = base;
    mempool->buffer_bytes = buffer_bytes;
    mempool->top = entries;
    for (uint32_t i = 0; i < entries; i++) {
        mempool->free[i] = i;
        struct packet *packet = (struct packet *)(base + (uint64_t)i * buffer_bytes);
        packet->physical = iova + (uint64_t)i * buffer_bytes;
        packet->mempool = mempool;
        packet->index = i;
        packet->size = 0;
    }
    return mempool;
}

static struct ring *ring_new(const struct virtio_lab *virtio, const struct virtqueue *queue, uint16_t number,
                             struct mempool *mempool, int stack) {
    const uint32_t size = virtio->lab.ring_size;
    struct ring *ring = calloc(1, sizeof(*ring) + size * sizeof(struct packet *));
    ring->descriptors = queue->descriptors;
    ring->avail = queue->driver;
    ring->used = queue->device;
    ring->doorbell = queue->doorbell;
    ring->number = number;
    ring->mempool = mempool;
    ring->size = size;
    ring->buffer_bytes = virtio->lab.buffer_bytes;
    ring->stack = stack;
    ring->free = calloc(size, sizeof(uint16_t));
    for (uint32_t id = 0; id < size; id++) release(ring, id);
    return ring;
}

struct virtio_peer *virtio_peer_new(struct virtio_lab *virtio, int32_t stack) {
    struct virtio_peer *peer = calloc(1, sizeof(*peer));
    const struct lab *lab = &virtio->lab;
    const uint32_t half = lab->buffers / 2;
    for (uint16_t i = 0; i < 2; i++) {
        const uint64_t offset = (uint64_t)i * half * lab->buffer_bytes;
        peer->mempool[i] = mempool_new(lab->memory + offset, lab->iova + offset, half, lab->buffer_bytes);
        peer->rx[i] = ring_new(virtio, &virtio->rx[i], 0, peer->mempool[i], stack);
        peer->tx[i] = ring_new(virtio, &virtio->tx[i], 1, peer->mempool[i], stack);
        refill(peer->rx[i]);
    }
    return peer;
}

void virtio_peer_free(struct virtio_peer *peer) {
    for (uint32_t i = 0; i < 2; i++) {
        free(peer->rx[i]->free);
        free(peer->rx[i]);
        free(peer->tx[i]->free);
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
double virtio_peer_run(struct virtio_peer *peer, int32_t polls, int32_t batch) {
    const double start = now_ns();
    for (int32_t i = 0; i < polls; i++) {
        forward(peer->rx[0], peer->tx[1], (uint32_t)batch);
        forward(peer->rx[1], peer->tx[0], (uint32_t)batch);
    }
    return now_ns() - start;
}
