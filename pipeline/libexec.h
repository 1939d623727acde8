/* libexec.h - where the programs lie that `penstock` starts. */
#ifndef PK_PIPELINE_LIBEXEC_H
#define PK_PIPELINE_LIBEXEC_H

/* $PENSTOCK_LIBEXEC, or ../libexec/penstock beside the running program. View, valid until the next call. */
const char *pk_libexec_dir(void);

#endif
