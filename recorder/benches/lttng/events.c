/*
 * events S|F|M BATCHES: says so many batches of 1,000 events and prints the minimum and
 * the median of an event, in nanoseconds.
 */

#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "bench_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 1000, WARMING = 10, WAITING_MS = 10000 };

static const char *const PEERS[2] = {"10.0.0.1:8080", "10.0.0.2:8080"};

static void static_message(uint64_t n)
{
    (void)n;
    lttng_ust_tracepoint(bench, request_served);
}

static void fields(uint64_t n)
{
    lttng_ust_tracepoint(bench, request_served_with, n << 33, n & 0xffff, PEERS[n % 2]);
}

/* Formatted on the stack, which is cheaper than LTTng's own tracef(3): that allocates. */
static void formatted(uint64_t n)
{
    char text[128];
    snprintf(text, sizeof text, "request of %" PRIu64 " took %" PRIu64 " us, from %s",
             n << 33, n & 0xffff, PEERS[n % 2]);
    lttng_ust_tracepoint(bench, message, text);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* An event that nobody has enabled costs nothing. */
static int enabled(void)
{
    return lttng_ust_tracepoint_enabled(bench, request_served)
        && lttng_ust_tracepoint_enabled(bench, request_served_with)
        && lttng_ust_tracepoint_enabled(bench, message);
}

static int compare(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* A loop of its own for each kind, with nothing else in it. */
#define TIMED(EVENT)                                            \
    for (uint64_t n = first; n < first + BATCH; n++) {          \
        EVENT(n);                                               \
    }

static uint64_t batch(char kind, uint64_t first)
{
    const uint64_t began = now_ns();
    if (kind == 'S') {
        TIMED(static_message)
    } else if (kind == 'F') {
        TIMED(fields)
    } else {
        TIMED(formatted)
    }
    return now_ns() - began;
}

int main(int count, char **arguments)
{
    const size_t batches = count == 3 ? strtoul(arguments[2], NULL, 10) : 0;
    if (batches <= WARMING || strlen(arguments[1]) != 1 || !strchr("SFM", arguments[1][0])) {
        fprintf(stderr, "events S|F|M BATCHES, more than %d\n", WARMING);
        return 2;
    }
    for (int ms = 0; !enabled(); ms++) {
        if (ms == WAITING_MS) {
            fprintf(stderr, "no session has enabled the events\n");
            return 1;
        }
        usleep(1000);
    }
    uint64_t *took = calloc(batches, sizeof *took);
    if (took == NULL) {
        return 1;
    }
    for (size_t i = 0; i < batches; i++) {
        took[i] = batch(arguments[1][0], i * BATCH);
    }
    qsort(took + WARMING, batches - WARMING, sizeof *took, compare);
    printf("%.1f %.1f\n", (double)took[WARMING] / BATCH,
           (double)took[WARMING + (batches - WARMING) / 2] / BATCH);
    free(took);
    return 0;
}
