/* penstock-head: activations in, answers and logits out. */
#include "stages/head.h"

int main(int argc, char **argv)
{
    static pk_head self;
    return pk_stage_main(argc, argv, &pk_head_ops, &self);
}
