/* Links and channels over real sockets. */
#include "tests/unit/cmocka_all.h"
#include "ipc/control.h"
#include "ipc/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW = 64, SPANS = 4, PAYLOAD_BYTES = 1 << 20, WAIT_MS = 5000 };

typedef struct {
    char folder[64], endpoint[96];
    pk_net *net;
    pk_link *receiver;
} place;

static pk_link_options ends(const char *endpoint, bool receive)
{
    return (pk_link_options){.endpoint = endpoint,
                             .receive = receive,
                             .limits = {.spans = SPANS, .payload_bytes = PAYLOAD_BYTES},
                             .window = WINDOW};
}

static int open_place(void **state)
{
    place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/pk-link-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->endpoint, sizeof p->endpoint, "ipc://%s/in", p->folder);
    assert_int_equal(pk_net_open(&p->net), PK_OK);
    assert_int_equal(pk_link_open(&p->receiver, p->net, ends(p->endpoint, true)), PK_OK);
    *state = p;
    return 0;
}

static int close_place(void **state)
{
    place *p = *state;
    pk_link_close(&p->receiver);
    pk_net_close(&p->net);
    unlink(p->endpoint + strlen("ipc://"));
    rmdir(p->folder);
    free(p);
    return 0;
}

static pk_link *open_sender(place *p)
{
    pk_link *sender = NULL;
    assert_int_equal(pk_link_open(&sender, p->net, ends(p->endpoint, false)), PK_OK);
    return sender;
}

/* A batch of `bytes` bytes of text, of sequence `sequence`. */
static pk_batch text_batch(pk_span *span, uint64_t number, uint32_t bytes)
{
    *span = (pk_span){.sequence = 7, .position = 3, .count = bytes};
    return (pk_batch){
        .kind = PK_KIND_TEXT, .epoch = 1, .number = number, .dtype = PK_U8, .width = 1, .spans = span, .span_count = 1};
}

static pk_buffer *filled(size_t bytes, uint8_t first)
{
    pk_buffer *buffer = NULL;
    assert_int_equal(pk_buffer_open(&buffer, bytes), PK_OK);
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)buffer->data)[i] = (uint8_t)(first + i);
    return buffer;
}

static void assert_filled(const pk_buffer *buffer, size_t bytes, uint8_t first)
{
    assert_int_equal(buffer->bytes, bytes);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(((const uint8_t *)buffer->data)[i], (uint8_t)(first + i));
}

/* Waits for what is under way. */
static pk_err await_batch(pk_link *link, pk_batch *head, pk_buffer **payload)
{
    pk_poll_item item = {.socket = pk_link_socket(link)};
    pk_err err = pk_link_recv(link, head, payload);
    if (err != PK_AGAIN)
        return err;
    assert_int_equal(pk_poll(&item, 1, WAIT_MS), PK_OK);
    assert_true(item.ready);
    return pk_link_recv(link, head, payload);
}

/* The trail ends in these words. */
static void assert_said(const char *words)
{
    const char *said = pk_error_text();
    size_t bytes = strlen(words);
    if (strlen(said) < bytes || strcmp(said + strlen(said) - bytes, words) != 0)
        fail_msg("\"%s\" does not end in \"%s\"", said, words);
}

static void nothing_there_is_said_so(void **state)
{
    place *p = *state;
    pk_batch head;
    pk_buffer *payload = NULL;
    assert_int_equal(pk_link_recv(p->receiver, &head, &payload), PK_AGAIN);
    assert_null(payload);
}

static void batches_come_in_the_order_in_which_they_were_sent(void **state)
{
    place *p = *state;
    pk_link *sender = open_sender(p);
    for (uint32_t i = 0; i < WINDOW; i++) {
        pk_span span;
        pk_batch head = text_batch(&span, i + 1, i * 40);
        assert_int_equal(pk_link_send(sender, &head, i ? filled(i * 40, (uint8_t)i) : NULL), PK_OK);
    }
    for (uint32_t i = 0; i < WINDOW; i++) {
        pk_batch head;
        pk_buffer *payload = NULL;
        assert_int_equal(await_batch(p->receiver, &head, &payload), PK_OK);
        assert_int_equal(head.number, i + 1);
        assert_int_equal(head.spans[0].count, i * 40);
        assert_filled(payload, i * 40, (uint8_t)i);
        pk_buffer_close(&payload);
    }
    pk_link_close(&sender);
}

static void assert_comes_aligned(pk_link *link, uint32_t bytes)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    assert_int_equal(await_batch(link, &head, &payload), PK_OK);
    assert_int_equal((uintptr_t)payload->data % sizeof(uint32_t), 0);
    assert_filled(payload, bytes, (uint8_t)bytes);
    pk_buffer_close(&payload);
}

/* Many at once: libzmq reads them together, and then they lie at odd places of its buffer. */
static void payloads_of_any_size_are_aligned_for_numbers(void **state)
{
    place *p = *state;
    pk_link *sender = open_sender(p);
    for (uint32_t first = 1; first < 400; first += WINDOW) {
        for (uint32_t bytes = first; bytes < first + WINDOW; bytes++) {
            pk_span span;
            pk_batch head = text_batch(&span, bytes, bytes);
            assert_int_equal(pk_link_send(sender, &head, filled(bytes, (uint8_t)bytes)), PK_OK);
        }
        for (uint32_t bytes = first; bytes < first + WINDOW; bytes++)
            assert_comes_aligned(p->receiver, bytes);
    }
    pk_link_close(&sender);
}

/* inproc:// hands memory itself from socket to socket, so that a copy of ours would show as another address. */
static void a_payload_passes_through_a_stage_without_a_copy(void **state)
{
    place *p = *state;
    pk_link *in = NULL, *to_stage = NULL, *from_stage = NULL, *out = NULL;
    pk_span span;
    pk_batch head = text_batch(&span, 1, 4096);
    pk_buffer *payload = filled(4096, 1);
    const void *memory = payload->data;
    assert_int_equal(pk_link_open(&in, p->net, ends("inproc://stage", true)), PK_OK);
    assert_int_equal(pk_link_open(&out, p->net, ends("inproc://next", true)), PK_OK);
    assert_int_equal(pk_link_open(&to_stage, p->net, ends("inproc://stage", false)), PK_OK);
    assert_int_equal(pk_link_open(&from_stage, p->net, ends("inproc://next", false)), PK_OK);
    assert_int_equal(pk_link_send(to_stage, &head, payload), PK_OK);
    assert_int_equal(await_batch(in, &head, &payload), PK_OK);
    assert_ptr_equal(payload->data, memory);
    memset(payload->data, 9, 4096); /* the owner may write into it */
    assert_int_equal(pk_link_send(from_stage, &head, payload), PK_OK);
    assert_int_equal(await_batch(out, &head, &payload), PK_OK);
    assert_ptr_equal(payload->data, memory);
    assert_int_equal(((uint8_t *)payload->data)[4095], 9);
    pk_buffer_close(&payload);
    pk_link_close(&to_stage);
    pk_link_close(&from_stage);
    pk_link_close(&in);
    pk_link_close(&out);
}

static void a_payload_shortened_by_its_owner_is_sent_short(void **state)
{
    place *p = *state;
    pk_link *sender = open_sender(p);
    pk_span span;
    pk_batch head = text_batch(&span, 1, 4096), got;
    pk_buffer *payload = NULL;
    assert_int_equal(pk_link_send(sender, &head, filled(4096, 1)), PK_OK);
    assert_int_equal(await_batch(p->receiver, &got, &payload), PK_OK);
    head = text_batch(&span, 2, 100);
    payload->bytes = 100; /* of a frame that came whole */
    assert_int_equal(pk_link_send(sender, &head, payload), PK_OK);
    assert_int_equal(await_batch(p->receiver, &got, &payload), PK_OK);
    assert_filled(payload, 100, 1);
    pk_buffer_close(&payload);
    pk_link_close(&sender);
}

static pk_socket *open_stranger(place *p, pk_socket_type type, const char *endpoint)
{
    pk_socket *stranger = NULL;
    assert_int_equal(pk_socket_open(&stranger, p->net,
                                    (pk_socket_options){.type = type,
                                                        .endpoint = endpoint,
                                                        .identity = type == PK_SOCKET_DEALER ? "stranger" : NULL,
                                                        .message_bytes = PAYLOAD_BYTES}),
                     PK_OK);
    return stranger;
}

/* A message of `frames` frames, the first two of which are a good batch. */
static void send_frames(pk_socket *socket, uint64_t number, unsigned frames)
{
    pk_span span;
    pk_batch head = text_batch(&span, number, 5);
    pk_buffer *header = NULL;
    assert_int_equal(pk_buffer_open(&header, 256), PK_OK);
    assert_int_equal(pk_batch_write(&head, header->data, 256, &header->bytes), PK_OK);
    assert_int_equal(pk_socket_send(socket, header, frames > 1, WAIT_MS), PK_OK);
    for (unsigned i = 1; i < frames; i++)
        assert_int_equal(pk_socket_send(socket, filled(5, 1), i + 1 < frames, WAIT_MS), PK_OK);
}

static void assert_next_is_good(pk_link *link, uint64_t number)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    if (await_batch(link, &head, &payload))
        fail_msg("%s", pk_error_text());
    assert_true(head.number == number);
    assert_filled(payload, 5, 1);
    pk_buffer_close(&payload);
}

static void messages_of_a_wrong_number_of_frames_are_refused_and_the_link_goes_on(void **state)
{
    static const struct {
        unsigned frames;
        const char *words;
    } wrong[] = {{1, "a message of one frame, two were expected"},
                 {3, "a message of more than two frames"},
                 {9, "a message of more than two frames"}};
    place *p = *state;
    pk_socket *stranger = open_stranger(p, PK_SOCKET_PUSH, p->endpoint);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pk_batch head;
        pk_buffer *payload = NULL;
        send_frames(stranger, 1, wrong[i].frames);
        send_frames(stranger, 2 + i, 2);
        assert_int_equal(await_batch(p->receiver, &head, &payload), PK_PEER);
        assert_said(wrong[i].words);
        assert_null(payload);
        assert_next_is_good(p->receiver, 2 + i);
    }
    pk_socket_close(&stranger);
}

/* libzmq drops the connection and says nothing; its sender comes back as if nothing had been. */
static void a_frame_above_the_limit_is_told_once_and_the_link_goes_on(void **state)
{
    place *p = *state;
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_socket *stranger = open_stranger(p, PK_SOCKET_PUSH, p->endpoint);
    send_frames(stranger, 1, 2);
    assert_next_is_good(p->receiver, 1);
    assert_int_equal(pk_socket_send(stranger, filled(PAYLOAD_BYTES + 1, 1), false, WAIT_MS), PK_OK);
    assert_int_equal(await_batch(p->receiver, &head, &payload), PK_PEER);
    assert_non_null(
        strstr(pk_error_text(), "what was in flight is lost: a frame of more than 1048576 bytes does that"));
    assert_null(payload);
    send_frames(stranger, 2, 2);
    assert_next_is_good(p->receiver, 2);
    pk_socket_close(&stranger);
}

static void a_sender_that_ends_is_no_loss(void **state)
{
    place *p = *state;
    pk_poll_item item = {.socket = pk_link_socket(p->receiver)};
    pk_socket *stranger = open_stranger(p, PK_SOCKET_PUSH, p->endpoint);
    send_frames(stranger, 1, 2);
    assert_next_is_good(p->receiver, 1);
    pk_socket_close(&stranger);
    assert_int_equal(pk_poll(&item, 1, 200), PK_OK);
    assert_false(item.ready);
}

static void garbage_is_refused_and_the_link_goes_on(void **state)
{
    place *p = *state;
    pk_socket *stranger = open_stranger(p, PK_SOCKET_PUSH, p->endpoint);
    pk_batch head;
    pk_buffer *payload = NULL;
    assert_int_equal(pk_socket_send(stranger, filled(100, 0xc1), true, WAIT_MS), PK_OK);
    assert_int_equal(pk_socket_send(stranger, filled(100, 0), false, WAIT_MS), PK_OK);
    send_frames(stranger, 1, 2);
    assert_int_equal(await_batch(p->receiver, &head, &payload), PK_PEER);
    assert_said("/in: batch header: byte 0: type 0xc1 where the batch (an array) was expected");
    assert_null(payload);
    assert_next_is_good(p->receiver, 1);
    pk_socket_close(&stranger);
}

static pk_err await_control(pk_channel *channel, char from[PK_NAME_BYTES], pk_control *message)
{
    pk_poll_item item = {.socket = pk_channel_socket(channel)};
    pk_err err = pk_channel_recv(channel, from, message);
    if (err != PK_AGAIN)
        return err;
    assert_int_equal(pk_poll(&item, 1, WAIT_MS), PK_OK);
    return pk_channel_recv(channel, from, message);
}

static void a_channel_knows_who_speaks_and_answers_to_them(void **state)
{
    place *p = *state;
    pk_channel *serving = NULL, *low = NULL;
    char from[PK_NAME_BYTES], endpoint[96];
    pk_control message;
    snprintf(endpoint, sizeof endpoint, "ipc://%s/control", p->folder);
    assert_int_equal(pk_channel_open(&serving, p->net, endpoint, NULL), PK_OK);
    assert_int_equal(pk_channel_open(&low, p->net, endpoint, "low"), PK_OK);
    assert_int_equal(pk_channel_send(low, NULL, &(pk_control){.kind = PK_CONTROL_HELLO, .pid = 12}), PK_OK);
    assert_int_equal(await_control(serving, from, &message), PK_OK);
    assert_string_equal(from, "low");
    assert_int_equal(message.pid, 12);
    assert_int_equal(pk_channel_send(serving, "low", &(pk_control){.kind = PK_CONTROL_DRAIN}), PK_OK);
    assert_int_equal(await_control(low, NULL, &message), PK_OK);
    assert_int_equal(message.kind, PK_CONTROL_DRAIN);
    assert_int_equal(pk_channel_send(serving, "nobody", &(pk_control){.kind = PK_CONTROL_DRAIN}), PK_PEER);
    assert_non_null(strstr(pk_error_text(), "send to "));
    pk_channel_close(&low);
    pk_channel_close(&serving);
    unlink(endpoint + strlen("ipc://"));
}

static void a_stranger_on_the_control_socket_is_named_and_the_channel_goes_on(void **state)
{
    place *p = *state;
    pk_channel *serving = NULL;
    char from[PK_NAME_BYTES] = "", endpoint[96];
    pk_control message;
    snprintf(endpoint, sizeof endpoint, "ipc://%s/control", p->folder);
    assert_int_equal(pk_channel_open(&serving, p->net, endpoint, NULL), PK_OK);
    pk_socket *stranger = open_stranger(p, PK_SOCKET_DEALER, endpoint);
    assert_int_equal(pk_socket_send(stranger, filled(3, 0xc1), false, WAIT_MS), PK_OK);
    assert_int_equal(pk_socket_send(stranger, filled(3, 1), true, WAIT_MS), PK_OK);
    assert_int_equal(pk_socket_send(stranger, filled(3, 1), false, WAIT_MS), PK_OK);
    assert_int_equal(await_control(serving, from, &message), PK_PEER);
    assert_string_equal(from, "stranger");
    assert_int_equal(await_control(serving, from, &message), PK_PEER);
    assert_said("from stranger: control message of more than one frame");
    assert_int_equal(pk_channel_recv(serving, from, &message), PK_AGAIN);
    pk_socket_close(&stranger);
    pk_channel_close(&serving);
    unlink(endpoint + strlen("ipc://"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_there_is_said_so, open_place, close_place),
        cmocka_unit_test_setup_teardown(batches_come_in_the_order_in_which_they_were_sent, open_place, close_place),
        cmocka_unit_test_setup_teardown(payloads_of_any_size_are_aligned_for_numbers, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_payload_passes_through_a_stage_without_a_copy, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_payload_shortened_by_its_owner_is_sent_short, open_place, close_place),
        cmocka_unit_test_setup_teardown(messages_of_a_wrong_number_of_frames_are_refused_and_the_link_goes_on,
                                        open_place, close_place),
        cmocka_unit_test_setup_teardown(a_frame_above_the_limit_is_told_once_and_the_link_goes_on, open_place,
                                        close_place),
        cmocka_unit_test_setup_teardown(a_sender_that_ends_is_no_loss, open_place, close_place),
        cmocka_unit_test_setup_teardown(garbage_is_refused_and_the_link_goes_on, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_channel_knows_who_speaks_and_answers_to_them, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_stranger_on_the_control_socket_is_named_and_the_channel_goes_on, open_place,
                                        close_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
