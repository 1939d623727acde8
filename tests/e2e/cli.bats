#!/usr/bin/env bats
# The command's manners: help, exit codes, what goes to stdout and what to stderr.
# PENSTOCK_BUILD is the build folder, default build/release.

setup() {
    root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    build=${PENSTOCK_BUILD:-$root/build/release}
    case $build in /*) ;; *) build=$root/$build ;; esac
    penstock=$build/bin/penstock
    golden=$root/tests/golden
    cd "$BATS_TEST_TMPDIR"
}

# quietly CODE COMMAND…: the exit code is CODE and nothing goes to stdout; stderr is in $output.
quietly() {
    local expected=$1 code=0
    shift
    "$@" >out 2>err || code=$?
    output=$(cat err)
    [ "$code" -eq "$expected" ] || { echo "exit $code, expected $expected: $output"; return 1; }
    [ ! -s out ]
}

@test "without a command the commands are listed by group" {
    run "$penstock"
    [ "$status" -eq 0 ]
    [[ "$output" == *$'\nPipelines:\n  check '* ]]
    [[ "$output" == *$'\nModels:\n'*'  model synth '* ]]
}

@test "the version is one line" {
    run "$penstock" --version
    [ "$status" -eq 0 ]
    [[ "$output" =~ ^penstock\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
}

@test "every command's help has a usage line and ends with two examples" {
    "$penstock" --help | sed -nE 's/^  ([a-z]+( [a-z]+)?)  .*/\1/p' >commands
    [ "$(wc -l <commands)" -gt 8 ]
    while read -r command; do
        # shellcheck disable=SC2086
        run "$penstock" $command --help
        [ "$status" -eq 0 ]
        [[ "$output" == *$'\n\nusage: penstock '"$command"* ]]
        [[ "$output" =~ $'\n\nExamples:\n  '[^$'\n']*'penstock '[^$'\n']+$'\n  '[^$'\n']*'penstock '[^$'\n']+$ ]]
    done <commands
}

@test "help that cannot be written is a failure" {
    quietly 74 sh -c '"$0" --help >/dev/full' "$penstock"
    [[ "$output" == "penstock: standard output: No space left on device" ]]
}

@test "an unknown command is usage, with the nearest name" {
    quietly 2 "$penstock" chek
    [ "$output" = "penstock: unknown command chek; did you mean check?" ]
    quietly 2 "$penstock" model
    [ "$output" = "penstock: model: expected a second word, found nothing; there are: model inspect, model verify, model synth, model quantize" ]
}

@test "an unknown option is usage, with the nearest name" {
    quietly 2 "$penstock" check --modle x
    [ "$output" = "penstock: unknown option --modle; did you mean --model?" ]
}

@test "too many and too few operands are usage" {
    quietly 2 "$penstock" check a.yaml b.yaml
    [ "$output" = 'penstock: check: "b.yaml" is one argument too many, expected [PIPELINE.yaml]' ]
    quietly 2 "$penstock" model synth
    [ "$output" = "penstock: model synth: expected DIR, found nothing" ]
}

@test "a pipeline without a model is usage" {
    quietly 2 "$penstock" check
    [ "$output" = "penstock: no model is named, expected -m DIR or model: DIR in the pipeline file" ]
}

@test "check says on stderr that a pipeline is good" {
    quietly 0 "$penstock" check -m "$golden/duo"
    [[ "$output" == *": good, "*" stages for 16 layers" ]]
}

@test "a pipeline that was printed checks, and prints as the same" {
    "$penstock" check -m "$golden/duo" --print --set limits.window=3 >printed.yaml
    quietly 0 "$penstock" check printed.yaml
    "$penstock" check - --print <printed.yaml >again.yaml
    diff printed.yaml again.yaml
    grep -q 'window: 3' again.yaml
}

@test "a mistake in the file is exit 2 with file, line and column" {
    printf 'version: 1\nlimits: { batch_row: 5 }\n' >p.yaml
    quietly 2 "$penstock" check p.yaml -m "$golden/nano"
    [ "$output" = 'penstock: p.yaml:2:11: limits.batch_row: unknown key, expected context, batch_rows, sequences, window, silent_seconds or hung_seconds; did you mean "batch_rows"?' ]
}

@test "what a file says does not steer the terminal" {
    printf 'version: 1\n"a\\e[2J": 1\n"a\\e[2J": 2\n' >p.yaml
    quietly 2 "$penstock" check p.yaml -m "$golden/nano"
    [ "$output" = 'penstock: p.yaml:3:1: key "a?[2J" given twice, first at 2:1' ]
}

@test "a mistake in --set is exit 2" {
    quietly 2 "$penstock" check -m "$golden/nano" --set limits.window=wide
    [ "$output" = 'penstock: --set limits.window: expected a whole number from 1 to 4096, found "wide"' ]
}

@test "layers that are missing are exit 2 and named" {
    printf 'version: 1\nstages: [{ name: a, kind: layers, layers: 0-3 }, { kind: head }]\n' >p.yaml
    quietly 2 "$penstock" check p.yaml -m "$golden/duo" --for logits
    [ "$output" = "penstock: p.yaml: stages: the model's layers 0-15 must each be in one stage; missing: 4-15" ]
}

@test "a pipeline of model stages serves logits but not run" {
    printf 'version: 1\nstages: [{ name: a, kind: layers, layers: 0-15 }, { kind: head }]\n' >p.yaml
    quietly 0 "$penstock" check p.yaml -m "$golden/duo" --for logits
    quietly 2 "$penstock" check p.yaml -m "$golden/duo"
    [ "$output" = "penstock: p.yaml: stages: no stage of kind tokenize, expected one: - { name: tokenize, kind: tokenize }" ]
}

@test "what does not fit is exit 4" {
    "$penstock" model synth wide --layers 2 --softmax-every 1 --heads 64 --kv-heads 64 --head-dim 512 --hidden 8 --inner 8 \
        --experts 2 --vocab 32 --positions 1000000000 2>err
    quietly 4 "$penstock" check -m wide --set limits.context=1000000000
    [[ "$output" == "penstock: does not fit: "* ]]
}

@test "a missing or damaged model is exit 6" {
    quietly 6 "$penstock" check -m nowhere
    mkdir broken
    echo '{ "hidden_size": "wide" }' >broken/config.json
    quietly 6 "$penstock" graph -m broken
}

@test "graph draws every stage, within the width asked for" {
    run "$penstock" graph -m "$golden/duo" --columns 60 --ascii
    [ "$status" -eq 0 ]
    for word in coordinator penstock-tokenize penstock-layers penstock-head penstock-detokenize answers; do
        [[ "$output" == *"$word"* ]]
    done
    picture=$(printf '%s\n' "$output" | sed 1,3d)
    [ "$(printf '%s\n' "$picture" | wc -L)" -le 60 ]
}

@test "a checkpoint made by model synth is one that check accepts" {
    quietly 0 "$penstock" model synth small --hidden 64 --layers 3 --vocab 300 --inner 32 --dtype f32
    [[ "$output" == *" GB/s" ]]
    quietly 0 "$penstock" check -m small
    grep -q '"hidden_size": 64' small/config.json
}

@test "model synth makes the same bytes from the same seed" {
    for name in a b; do "$penstock" model synth $name --layers 1 --vocab 64 --seed 7 2>err; done
    diff -r a b
}

@test "model synth does not write into a folder with something in it" {
    mkdir taken
    touch taken/file
    quietly 2 "$penstock" model synth taken
    [ "$(ls taken)" = file ]
}

@test "a shape that no model can have is exit 2" {
    quietly 2 "$penstock" model synth odd --heads 6 --kv-heads 4
    [ ! -e odd ]
}

@test "logits that no message can hold are refused before anything is started" {
    "$penstock" model synth model --layers 1 --hidden 16 --heads 2 --head-dim 8 --kv-heads 1 --rotary-dim 4 --inner 8 \
        --experts 2 --vocab 20000 2>/dev/null
    echo '[[1, 2]]' >ids.json
    quietly 2 "$penstock" logits -m model --ids ids.json --out x --batch-rows 65536
    [[ "$output" == *"65536 rows of logits of 20000 ids are 4.9 GiB, more than a message of 4 GiB; lower limits.batch_rows to 53687, or ask for the last position only" ]]
    [ ! -e x ]
    quietly 0 "$penstock" logits -m model --ids ids.json --out x --batch-rows 65536 --positions last --set limits.context=256
}
