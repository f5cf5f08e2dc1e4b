/*
 * A generator and a checker in C, written for this benchmark, that work as Pktgen-DPDK does: packets are written once, and only what
 * differs from frame to frame is written again; bursts come out of a pool that is a stack; RS on every descriptor, cleaning in
 * steps of 32. Without fields that differ nothing of a packet is touched at all. And the device behind them, in lockstep: it
 * completes descriptors, and checks length, flags, and every 16th frame's checksums.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lockstep.h"

#define CLEAN_BATCH 32
#define MAX_BATCH 256
#define CHECK_EACH 16
#define FRAME_BYTES 60

struct generator {
    volatile union descriptor *ring;
    volatile uint32_t *tail;
    uint8_t *memory;
    uint32_t buffer_bytes;
    uint16_t entries;
    uint16_t clean;
    uint16_t index;
    uint32_t top;
    uint32_t random;
    uint64_t sequence;
    uint32_t in_slot[4096];
    uint32_t free[];
};

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Every buffer has the frame already. The address of a buffer is its virtual address, as in ixy. */
struct generator *generator_new(void *ring, void *tail, uint8_t *memory, uint32_t buffers, uint32_t buffer_bytes,
                                uint32_t entries) {
    struct generator *g = calloc(1, sizeof(*g) + buffers * sizeof(uint32_t));
    g->ring = ring;
    g->tail = tail;
    g->memory = memory;
    g->buffer_bytes = buffer_bytes;
    g->entries = (uint16_t)entries;
    g->random = 1;
    for (uint32_t i = 0; i < buffers; i++) g->free[g->top++] = i;
    return g;
}

void generator_free(struct generator *g) { free(g); }

static inline uint32_t next_random(struct generator *g) {
    uint32_t x = g->random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return g->random = x;
}

static inline void put16(uint8_t *at, uint32_t value) {
    const uint16_t big = __builtin_bswap16((uint16_t)value);
    memcpy(at, &big, 2);
}

static inline uint32_t fold(uint32_t sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

/* A random source address of 2^16, a random source port of 2^14 and destination port of 2^10; both checksums, incrementally. */
static inline void write_fields(struct generator *g, uint8_t *frame, uint32_t ip_sum, uint32_t udp_sum) {
    const uint32_t host = next_random(g) >> 16;
    const uint32_t source = 1024 + (next_random(g) >> 18);
    const uint32_t destination = 1000 + (next_random(g) >> 22);
    put16(frame + 28, host);
    put16(frame + 34, source);
    put16(frame + 36, destination);
    put16(frame + 24, ~fold(ip_sum + host));
    const uint32_t folded = fold(udp_sum + host + source + destination);
    put16(frame + 40, folded == 0xffff ? 0xffff : ~folded);
}

static uint32_t sum_of(const uint8_t *bytes, uint32_t from, uint32_t to, uint32_t sum) {
    for (uint32_t i = from; i < to; i += 2) sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    return sum;
}

/* What the checksums cover and does not change. The fields that differ, and the checksums, are 0 in the template. */
static void sums_of(const uint8_t *frame, uint32_t *ip_sum, uint32_t *udp_sum) {
    *ip_sum = sum_of(frame, 14, 34, 0) - sum_of(frame, 24, 26, 0) - sum_of(frame, 28, 30, 0);
    *udp_sum = sum_of(frame, 26, 28, 0) + sum_of(frame, 30, 34, 0) + 17 + 26 + sum_of(frame, 38, 40, 0) +
               sum_of(frame, 42, FRAME_BYTES, 0);
}

static inline __attribute__((always_inline)) uint32_t generate(struct generator *g, uint32_t batch, int fields,
                                                                uint32_t ip_sum, uint32_t udp_sum) {
    uint16_t clean = g->clean;
    uint16_t index = g->index;
    const uint16_t mask = (uint16_t)(g->entries - 1);
    for (;;) {
        const uint32_t cleanable = (uint32_t)(index - clean) & mask;
        if (cleanable < CLEAN_BATCH) break;
        const uint16_t upto = (uint16_t)((clean + CLEAN_BATCH - 1) & mask);
        if (!(g->ring[upto].word3 & TX_DD)) break;
        for (uint32_t i = 0; i < CLEAN_BATCH; i++) g->free[g->top++] = g->in_slot[(clean + i) & mask];
        clean = (uint16_t)((upto + 1) & mask);
    }
    uint32_t sent;
    for (sent = 0; sent < batch && g->top > 0; sent++) {
        const uint16_t next = (uint16_t)((index + 1) & mask);
        if (next == clean) break;
        const uint32_t buffer = g->free[--g->top];
        uint8_t *frame = g->memory + (uint64_t)buffer * g->buffer_bytes;
        if (fields) write_fields(g, frame, ip_sum, udp_sum);
        g->in_slot[index] = buffer;
        volatile union descriptor *descriptor = &g->ring[index];
        descriptor->address = (uint64_t)frame;
        descriptor->word2 = TX_EOP | TX_RS | TX_IFCS | TX_DEXT | TX_DTYP_DATA | FRAME_BYTES;
        descriptor->word3 = FRAME_BYTES << TX_PAYLEN_SHIFT;
        index = next;
    }
    g->clean = clean;
    g->index = index;
    __asm__ volatile("" : : : "memory");
    *g->tail = index;
    return sent;
}

/* Nanoseconds that so many bursts take. */
double generator_run(struct generator *g, int32_t polls, int32_t batch, int32_t fields) {
    uint32_t ip_sum, udp_sum;
    sums_of(g->memory, &ip_sum, &udp_sum);
    const double start = now_ns();
    if (fields) {
        for (int32_t i = 0; i < polls; i++) generate(g, (uint32_t)batch, 1, ip_sum, udp_sum);
    } else {
        for (int32_t i = 0; i < polls; i++) generate(g, (uint32_t)batch, 0, 0, 0);
    }
    return now_ns() - start;
}

/*
 * Completes what is between head and tail of a transmit ring. Returns how many frames that were; below 0 where one is not as it
 * must be.
 */
int32_t generator_complete(void *ring_address, void *tail_address, uint8_t *memory, uint64_t iova, uint32_t entries,
                           uint32_t head) {
    volatile union descriptor *ring = ring_address;
    const uint32_t tail = *(volatile uint32_t *)tail_address;
    int32_t count = 0;
    for (; head != tail; head = (head + 1) & (entries - 1), count++) {
        const uint32_t command = ring[head].word2;
        if ((command & ~TX_RS) != (TX_DTYP_DATA | TX_EOP | TX_IFCS | TX_DEXT | FRAME_BYTES)) return -1;
        if (ring[head].word3 != FRAME_BYTES << TX_PAYLEN_SHIFT) return -2;
        const uint8_t *frame = memory + (ring[head].address - iova);
        if (head % CHECK_EACH == 0) {
            if (fold(sum_of(frame, 14, 34, 0)) != 0xffff) return -3;
            if (fold(sum_of(frame, 26, 34, 17 + 26) + sum_of(frame, 34, FRAME_BYTES, 0)) != 0xffff) return -4;
        }
        if (command & TX_RS) ring[head].word3 = TX_DD;
    }
    return count;
}

/* The checker: fields of the test frame, sequence in order, latency into a log-linear histogram. */
struct checker {
    uint64_t next;
    uint64_t bad;
    uint64_t count;
    uint64_t min, max, sum;
    uint64_t buckets[1408];
};

struct checker *checker_new(void) { return calloc(1, sizeof(struct checker)); }
void checker_free(struct checker *c) { free(c); }
double checker_bad(struct checker *c) { return (double)c->bad; }

static inline uint64_t bucket_of(uint64_t value) {
    if (value < 32) return value;
    const uint32_t shift = 58 - (uint32_t)__builtin_clzll(value);
    return ((uint64_t)(shift + 1) << 5) + ((value >> shift) - 32);
}

static inline void check(struct checker *c, const uint8_t *frame, uint32_t bytes, uint32_t now) {
    const uint8_t *at = frame + 42;
    uint64_t number;
    uint32_t stamp;
    if (at[0] != 'B' || at[1] != 'W' || at[2] >> 4 != 1) {
        c->bad++;
        return;
    }
    uint8_t x = at[2];
    for (uint32_t i = 4; i < 18; i++) x ^= at[i];
    memcpy(&number, at + 4, 8);
    memcpy(&stamp, at + 14, 4);
    number = __builtin_bswap64(number);
    uint32_t differ = x ^ at[3];
    for (uint32_t i = 42 + 18; i < bytes; i++) differ |= frame[i] ^ (uint8_t)((i - 60) * 7 + 3);
    if (differ || number != c->next) c->bad++;
    c->next = number + 1;
    const uint32_t age = now - __builtin_bswap32(stamp);
    c->buckets[bucket_of(age)]++;
    c->count++;
    c->sum += age;
    if (age > c->max) c->max = age;
    if (age < c->min) c->min = age;
}

/* Frames one behind the other in a batch of buffers, `rounds` batches with the numbers going on. */
double checker_run(struct checker *c, const uint8_t *memory, uint32_t buffer_bytes, uint32_t frames, uint32_t bytes) {
    const double start = now_ns();
    const uint32_t now = (uint32_t)(uint64_t)start;
    for (uint32_t i = 0; i < frames; i++) check(c, memory + (uint64_t)i * buffer_bytes, bytes, now);
    return now_ns() - start;
}
