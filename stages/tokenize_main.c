/* penstock-tokenize: text in, token ids out. */
#include "stages/tokenize.h"

int main(int argc, char **argv)
{
    static pk_tokenize self;
    return pk_stage_main(argc, argv, &pk_tokenize_ops, &self);
}
