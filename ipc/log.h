/* log.h - one line per event on stderr: `level event key=value …`.
 *
 * A stage adds no clock and no name: the supervisor, who reads its stderr, adds both. Levels are audiences: error:
 * somebody must act; warn: slower or degraded; info: a state changed. Whoever handles an error logs it; whoever returns
 * it does not. */
#ifndef PK_IPC_LOG_H
#define PK_IPC_LOG_H

void pk_log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pk_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pk_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
