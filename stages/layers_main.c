/* penstock-layers: activations in, activations out. */
#include "stages/layers.h"

int main(int argc, char **argv)
{
    static pk_layers self;
    return pk_stage_main(argc, argv, &pk_layers_ops, &self);
}
