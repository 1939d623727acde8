/* error.h - how a function says that it failed, and why.
 *
 * A function that can fail returns a pk_err. The code tells a caller how to react; the words for the human lie in a
 * trail of the calling thread: pk_fail starts it, pk_pass puts where we were in front, so that the last message
 * reads as an explanation from the outside in. The trail has a fixed size and is cut at its end, never overrun; a
 * control character in it becomes '?', since what it quotes may come from a hostile file. A bug of ours is an assert,
 * not an error. */
#ifndef PK_IPC_ERROR_H
#define PK_IPC_ERROR_H

/* Each member is a different reaction of the caller, not a different cause. */
#define PK_ERRORS(X)                                                                                                   \
    X(OK, 0, "ok")                                                                                                     \
    X(AGAIN, 1, "nothing there yet")                                                                                   \
    X(CLOSED, 2, "the other side ended in order")                                                                      \
    X(INVALID, 3, "asked wrongly")                                                                                     \
    X(CORRUPT, 4, "bytes from outside are not what they claim")                                                        \
    X(NOMEM, 5, "over the memory budget")                                                                              \
    X(IO, 6, "the system failed")                                                                                      \
    X(DEVICE, 7, "the accelerator failed")                                                                             \
    X(PEER, 8, "another process is gone or misbehaves")

typedef enum {
#define X(name, code, text) PK_##name = code,
    PK_ERRORS(X)
#undef X
} pk_err;

enum { PK_ERROR_TEXT_BYTES = 2048 };

/* Starts the thread's trail with this message and returns `err` (never PK_OK). */
pk_err pk_fail(pk_err err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": " and the text of errno behind it. */
pk_err pk_fail_errno(pk_err err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* On PK_OK does nothing; else puts "message: " in front of the trail. Returns `err`. */
pk_err pk_pass(pk_err err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The thread's trail; view, valid until the thread's next pk_fail or pk_pass. "" before the first failure. */
const char *pk_error_text(void);

const char *pk_err_name(pk_err err);

#endif
