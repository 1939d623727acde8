#include "tests/simulate/queue.h"

#include <stdio.h>
#include <stdlib.h>

static void *need(void *memory)
{
    if (!memory) {
        fprintf(stderr, "simulate: no memory\n");
        abort();
    }
    return memory;
}

void queue_init(queue *q, uint64_t seed)
{
    *q = (queue){.dice = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
}

void queue_fini(queue *q)
{
    for (size_t i = 0; i < q->count; i++)
        free(q->heap[i].mail);
    free(q->heap);
    *q = (queue){0};
}

static bool before(const event *a, const event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void queue_put(queue *q, event e)
{
    if (q->count == q->room) {
        q->room = q->room ? 2 * q->room : 256;
        q->heap = need(realloc(q->heap, q->room * sizeof *q->heap));
    }
    e.order = q->order++;
    size_t at = q->count++;
    for (; at > 0 && before(&e, &q->heap[(at - 1) / 2]); at = (at - 1) / 2)
        q->heap[at] = q->heap[(at - 1) / 2];
    q->heap[at] = e;
}

event queue_take(queue *q)
{
    event first = q->heap[0], last = q->heap[--q->count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < q->count) {
        if (child + 1 < q->count && before(&q->heap[child + 1], &q->heap[child]))
            child++;
        if (!before(&q->heap[child], &last))
            break;
        q->heap[at] = q->heap[child];
        at = child;
    }
    if (q->count)
        q->heap[at] = last;
    return first;
}

/* splitmix64 */
uint64_t dice_u64(queue *q)
{
    uint64_t z = q->dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t dice_to(queue *q, uint64_t most)
{
    return dice_u64(q) % (most + 1);
}

bool dice_permille(queue *q, unsigned permille)
{
    return dice_to(q, 999) < permille;
}

void post_tie(post *mail)
{
    mail->head.spans = mail->spans;
    mail->head.ops = mail->ops;
    mail->head.samples = mail->samples;
}

post *post_copy(const post *mail)
{
    post *copy = need(malloc(sizeof *copy));
    *copy = *mail;
    post_tie(copy);
    return copy;
}

const char *event_word(event_kind kind)
{
    static const char *const words[] = {
#define X(name, word) word,
        EVENT_KINDS(X)
#undef X
    };
    return words[kind];
}
