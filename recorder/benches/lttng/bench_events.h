/* The events S, F and M of recorder/benches/shared/events.rs as LTTng tracepoints. */

#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER bench

#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "bench_events.h"

#if !defined(BENCH_EVENTS_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define BENCH_EVENTS_H

#include <lttng/tracepoint.h>
#include <stdint.h>

/* A static message is the name of its tracepoint. */
LTTNG_UST_TRACEPOINT_EVENT(bench, request_served,
    LTTNG_UST_TP_ARGS(void), LTTNG_UST_TP_FIELDS())

LTTNG_UST_TRACEPOINT_EVENT(bench, request_served_with,
    LTTNG_UST_TP_ARGS(uint64_t, user, uint64_t, micros, const char *, peer),
    LTTNG_UST_TP_FIELDS(
        lttng_ust_field_integer(uint64_t, user, user)
        lttng_ust_field_integer(uint64_t, micros, micros)
        lttng_ust_field_string(peer, peer)))

LTTNG_UST_TRACEPOINT_EVENT(bench, message,
    LTTNG_UST_TP_ARGS(const char *, text),
    LTTNG_UST_TP_FIELDS(lttng_ust_field_string(text, text)))

#endif

#include <lttng/tracepoint-event.h>
