/* penstock-detokenize: token ids in, text out. */
#include "stages/detokenize.h"

int main(int argc, char **argv)
{
    static pk_detokenize self;
    return pk_stage_main(argc, argv, &pk_detokenize_ops, &self);
}
