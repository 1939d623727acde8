/* bench-hop: what a hop between two stages costs beside bare ZeroMQ.
 *
 *     bench-hop [--json] [--rounds N]
 *
 * Two processes, sockets over ipc://. A framed hop is what stages do: a batch header and a payload through pk_link. The raw hop
 * is the same payload alone in one message by zmq_msg_init_data. Both take payloads from the same kind of pool, keep the
 * same high-water marks, and the receiver adds up every byte it gets and compares the sum. Every round measures one right
 * after the other, in changing order; the first round warms up and is not counted.
 *
 * The processes walk through the same list of measurements and meet on a socket pair before each of them. */
#include "ipc/link.h"
#include "tests/bench/figures.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

enum { WINDOW = 7, BUFFERS = 32, WIDTH = 1024, ROUND_TRIPS = 500, ROUNDS_DEFAULT = 9 };
enum { KIB = 1024, MIB = 1024 * 1024 };

typedef struct {
    const char *name;
    size_t bytes, messages;
} load;

static const load loads[] = {{"24 KiB", 24 * KIB, 8000}, {"1 MiB", MIB, 256}, {"8 MiB", 8 * MIB, 32}};
enum { LOADS = sizeof loads / sizeof *loads };

/* One process's place in all of this. */
typedef struct {
    bool first; /* it measures; the other one answers */
    int meeting;
    char endpoints[2][160]; /* towards the second, towards the first */
    pk_net *net;
    void *context;
} side;

/* One process's ends of a hop, in both directions; the half that belongs to the other kind stays empty. */
typedef struct end end;
struct end {
    size_t bytes;
    uint64_t number;
    pk_buffer_pool *pool;
    pk_link *link_in, *link_out;
    void *raw_in, *raw_out;
    void (*send)(end *);
    uint64_t (*recv)(end *); /* the sum of the payload */
};

typedef struct {
    uint64_t sum;
    double processor_seconds;
} report;

static void die(const char *what)
{
    fprintf(stderr, "bench-hop: %s: %s\n", what, pk_error_text()[0] ? pk_error_text() : zmq_strerror(zmq_errno()));
    exit(111);
}

static void tell(const side *s, const void *data, size_t bytes)
{
    if (write(s->meeting, data, bytes) != (ssize_t)bytes)
        die("the other process is gone");
}

static void hear(const side *s, void *data, size_t bytes)
{
    if (recv(s->meeting, data, bytes, MSG_WAITALL) != (ssize_t)bytes)
        die("the other process is gone");
}

static void meet(const side *s)
{
    char mark = 'm';
    tell(s, &mark, 1);
    hear(s, &mark, 1);
}

static uint64_t sum_of(const void *data, size_t bytes)
{
    const uint64_t *words = data;
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        sum += words[i];
    return sum;
}

static uint64_t expected_sum(size_t bytes)
{
    uint64_t words = bytes / sizeof(uint64_t);
    return words * (words - 1) / 2;
}

/* All buffers that can be on their way hold the numbers 0, 1, 2, … before the first is sent. */
static void open_pool(end *e)
{
    pk_buffer *buffers[BUFFERS];
    if (pk_buffer_pool_open(&e->pool, e->bytes))
        die("pool");
    for (size_t i = 0; i < BUFFERS; i++) {
        if (pk_buffer_pool_take(e->pool, e->bytes, &buffers[i]))
            die("pool");
        for (size_t word = 0; word < e->bytes / sizeof(uint64_t); word++)
            ((uint64_t *)buffers[i]->data)[word] = word;
    }
    for (size_t i = 0; i < BUFFERS; i++)
        pk_buffer_close(&buffers[i]);
}

static pk_buffer *take(end *e)
{
    pk_buffer *buffer = NULL;
    if (pk_buffer_pool_take(e->pool, e->bytes, &buffer))
        die("pool");
    return buffer;
}

static void send_framed(end *e)
{
    pk_span span = {.position = (uint32_t)e->number, .count = (uint32_t)(e->bytes / (WIDTH * sizeof(float)))};
    pk_batch head = {.kind = PK_KIND_ACTIVATIONS, .epoch = 1, .number = ++e->number, .dtype = PK_F32, .width = WIDTH,
                     .spans = &span, .span_count = 1};
    if (pk_link_send(e->link_out, &head, take(e)))
        die("send");
}

static uint64_t recv_framed(end *e)
{
    pk_poll_item item = {.socket = pk_link_socket(e->link_in)};
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_err err;
    while ((err = pk_link_recv(e->link_in, &head, &payload)) == PK_AGAIN)
        if (pk_poll(&item, 1, -1))
            die("poll");
    if (err)
        die("receive");
    uint64_t sum = sum_of(payload->data, payload->bytes);
    pk_buffer_close(&payload);
    return sum;
}

static void give_back(void *data, void *hint)
{
    (void)data;
    pk_buffer *buffer = hint;
    pk_buffer_close(&buffer);
}

static void send_raw(end *e)
{
    zmq_msg_t message;
    pk_buffer *buffer = take(e);
    if (zmq_msg_init_data(&message, buffer->data, buffer->bytes, give_back, buffer) ||
        zmq_msg_send(&message, e->raw_out, 0) < 0)
        die("raw send");
}

static uint64_t recv_raw(end *e)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, e->raw_in, 0) < 0)
        die("raw receive");
    uint64_t sum = sum_of(zmq_msg_data(&message), zmq_msg_size(&message));
    zmq_msg_close(&message);
    return sum;
}

static pk_link *open_link(const side *s, bool receive)
{
    pk_link *link = NULL;
    if (pk_link_open(&link, s->net, (pk_link_options){.endpoint = s->endpoints[receive == s->first],
                                                     .receive = receive,
                                                     .limits = {.spans = 64, .payload_bytes = 8 * MIB},
                                                     .window = WINDOW}))
        die("link");
    return link;
}

static void *open_raw(const side *s, bool receive)
{
    int high_water = WINDOW + 1;
    void *socket = zmq_socket(s->context, receive ? ZMQ_PULL : ZMQ_PUSH);
    const char *endpoint = s->endpoints[receive == s->first];
    if (!socket || zmq_setsockopt(socket, ZMQ_SNDHWM, &high_water, sizeof high_water) ||
        zmq_setsockopt(socket, ZMQ_RCVHWM, &high_water, sizeof high_water) ||
        (receive ? zmq_bind : zmq_connect)(socket, endpoint))
        die("raw socket");
    return socket;
}

/* Receivers are bound on both sides before anybody connects; one message each way has passed when it returns. */
static void open_end(end *e, const side *s, size_t bytes, bool framed)
{
    *e = (end){.bytes = bytes, .send = framed ? send_framed : send_raw, .recv = framed ? recv_framed : recv_raw};
    open_pool(e);
    if (framed)
        e->link_in = open_link(s, true);
    else
        e->raw_in = open_raw(s, true);
    meet(s);
    if (framed)
        e->link_out = open_link(s, false);
    else
        e->raw_out = open_raw(s, false);
    e->send(e);
    e->recv(e);
    meet(s);
}

static void close_end(end *e, const side *s)
{
    meet(s); /* nothing is on its way */
    pk_link_close(&e->link_in);
    pk_link_close(&e->link_out);
    if (e->raw_in)
        zmq_close(e->raw_in);
    if (e->raw_out)
        zmq_close(e->raw_out);
    pk_buffer_pool_close(&e->pool);
    meet(s);
}

typedef struct {
    double gbs, processor_seconds; /* the latter of both processes, per GB */
} stream;

/* GB/s from the first send to the receiver's word that it has read the last byte. */
static stream measure_stream(const side *s, const load *l, bool framed)
{
    end e;
    report far = {0};
    open_end(&e, s, l->bytes, framed);
    double start = seconds_now(), used = seconds_used();
    for (size_t i = 0; s->first && i < l->messages; i++)
        e.send(&e);
    for (size_t i = 0; !s->first && i < l->messages; i++)
        far.sum += e.recv(&e);
    far.processor_seconds = seconds_used() - used;
    if (s->first)
        hear(s, &far, sizeof far);
    else
        tell(s, &far, sizeof far);
    double seconds = seconds_now() - start, gigabytes = (double)(l->bytes * l->messages) * 1e-9;
    if (far.sum != l->messages * expected_sum(l->bytes)) {
        fprintf(stderr, "bench-hop: what came is not what was sent\n");
        exit(1);
    }
    double both = far.processor_seconds + seconds_used() - used;
    close_end(&e, s);
    return (stream){.gbs = gigabytes / seconds, .processor_seconds = both / gigabytes};
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Microseconds one way: half of the median round trip. */
static double measure_latency(const side *s, const load *l, bool framed)
{
    double trips[ROUND_TRIPS];
    end e;
    open_end(&e, s, l->bytes, framed);
    for (size_t i = 0; i < ROUND_TRIPS; i++) {
        double start = seconds_now();
        if (s->first)
            e.send(&e);
        e.recv(&e);
        if (!s->first)
            e.send(&e);
        trips[i] = seconds_now() - start;
    }
    close_end(&e, s);
    qsort(trips, ROUND_TRIPS, sizeof *trips, ascending);
    return trips[ROUND_TRIPS / 2] / 2 * 1e6;
}

typedef struct {
    figure rates[LOADS], processor[LOADS], latency;
} results;

static void measure_load(const side *s, results *r, size_t which, size_t round)
{
    stream of[2]; /* raw, framed */
    for (size_t i = 0; i < 2; i++) {
        bool framed = (i + round) % 2;
        of[framed] = measure_stream(s, &loads[which], framed);
    }
    if (round) {
        figure_add(&r->rates[which], of[true].gbs, of[false].gbs);
        figure_add(&r->processor[which], of[true].processor_seconds, of[false].processor_seconds);
    }
}

static void measure_all(const side *s, results *r, size_t rounds)
{
    double latency[2];
    for (size_t round = 0; round <= rounds; round++) {
        for (size_t which = 0; which < LOADS; which++)
            measure_load(s, r, which, round);
        for (size_t i = 0; i < 2; i++) {
            bool framed = (i + round) % 2;
            latency[framed] = measure_latency(s, &loads[0], framed);
        }
        if (round)
            figure_add(&r->latency, latency[true], latency[false]);
    }
}

static void print(const results *r, bool json)
{
    figure figures[2 * LOADS + 1];
    char names[2][LOADS][48];
    for (size_t i = 0; i < LOADS; i++) {
        snprintf(names[0][i], sizeof names[0][i], "framed hop, %s", loads[i].name);
        snprintf(names[1][i], sizeof names[1][i], "framed hop, %s, processor", loads[i].name);
        figures[i] = r->rates[i];
        figures[i].name = names[0][i];
        figures[i].unit = "GB/s";
        figures[LOADS + i] = r->processor[i];
        figures[LOADS + i].name = names[1][i];
        figures[LOADS + i].unit = "s/GB";
    }
    figures[2 * LOADS] = r->latency;
    figures[2 * LOADS].name = "framed hop, 24 KiB, one way p50";
    figures[2 * LOADS].unit = "us";
    for (size_t i = 0; i < 2 * LOADS + 1; i++)
        figures[i].ceiling = "raw ZeroMQ, zero-copy";
    figures_print(figures, 2 * LOADS + 1, json);
}

static void open_side(side *s, const char *dir)
{
    for (size_t i = 0; i < 2; i++)
        snprintf(s->endpoints[i], sizeof s->endpoints[i], "ipc://%s/%zu", dir, i);
    if (pk_net_open(&s->net) || !(s->context = zmq_ctx_new()))
        die("context");
}

/* ZeroMQ leaves a socket's file behind when the name has been bound more than once. */
static void close_side(side *s, const char *dir)
{
    pk_net_close(&s->net);
    zmq_ctx_term(s->context);
    close(s->meeting);
    for (size_t i = 0; s->first && i < 2; i++)
        unlink(s->endpoints[i] + strlen("ipc://"));
    if (s->first)
        rmdir(dir);
}

static int usage(void)
{
    fprintf(stderr, "usage: bench-hop [--json] [--rounds N (1 to %d)]\n", FIGURE_ROUNDS_MOST);
    return 100;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {"rounds", required_argument, NULL, 'r'}, {0}};
    char dir[] = "/tmp/bench-hop-XXXXXX";
    size_t rounds = ROUNDS_DEFAULT;
    bool json = false;
    int option, pair[2], status = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'j')
            json = true;
        else if (option == 'r')
            rounds = strtoul(optarg, NULL, 10);
        else
            return usage();
    }
    if (optind != argc || !rounds || rounds > FIGURE_ROUNDS_MOST)
        return usage();
    if (!mkdtemp(dir) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
        perror("bench-hop");
        return 111;
    }
    static results r;
    pid_t other = fork(); /* before ZeroMQ has threads */
    if (other < 0) {
        perror("bench-hop");
        return 111;
    }
    side s = {.first = other != 0, .meeting = pair[other != 0]};
    close(pair[other == 0]);
    open_side(&s, dir);
    measure_all(&s, &r, rounds);
    close_side(&s, dir);
    if (!other)
        return 0;
    if (waitpid(other, &status, 0) != other || status)
        return 111;
    print(&r, json);
    return 0;
}
