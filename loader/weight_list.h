/* weight_list.h - the tensors that a checkpoint of a model must have, as one sorted list: for telling what is missing,
 * what is not the model's, and which name was meant. */
#ifndef PK_LOADER_WEIGHT_LIST_H
#define PK_LOADER_WEIGHT_LIST_H

#include "loader/names.h"

/* A tensor that is expected: `place` of its first weight. */
typedef struct {
    pk_weight_place place;
    pk_weight weight;
} pk_weight_item;

typedef struct {
    size_t count;
    pk_weight_item *items; /* in order of name, each name once */
} pk_weight_list;

/* The config is untrusted: PK_INVALID when it asks for more than PK_WEIGHT_LIST_MAX tensors. PK_NOMEM. */
enum { PK_WEIGHT_LIST_MAX = 1 << 20 };
pk_err pk_weight_list_init(pk_weight_list *list, const pk_model_config *config, pk_naming naming);
void pk_weight_list_fini(pk_weight_list *list);

const pk_weight_item *pk_weight_list_find(const pk_weight_list *list, const char *name); /* NULL: no weight's */

/* The name that `missing`, a name of the list, was probably spelled as: the nearest among the checkpoint's tensors that
 * the list does not have; NULL when none is near. View into the checkpoint. */
const char *pk_weight_list_nearest(const pk_weight_list *list, const pk_checkpoint *checkpoint, const char *missing);

#endif
