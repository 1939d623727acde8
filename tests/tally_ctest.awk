# tally_ctest.awk - counts the cmocka tests inside the output of `ctest -V`.
#
# Prints "skip NAME: reason" for each skipped test and the closing line "N passed, N failed, N skipped". Lines of
# program n begin with "n: "; programs run side by side, so everything is kept by n. A program that ctest calls failed
# counts as at least one failure, whatever it printed before (a crash prints nothing).

match($0, /^[0-9]+: /) {
    program = substr($0, 1, RLENGTH - 2)
    line = substr($0, RLENGTH + 1)
    if (line ~ /^\[ RUN      \] /) {
        test[program] = substr(line, 14)
        said[program] = ""
    } else if (line ~ /^\[  SKIPPED \] / && line !~ / test\(s\)/) {
        skipped++
        print "skip " test[program] ": " (said[program] == "" ? "(the test gives no reason)" : said[program])
    } else if (line ~ /^\[  PASSED  \] [0-9]+ test/) {
        passed_in[program] += count_of(line)
        counted[program] = 1
    } else if (line ~ /^\[  FAILED  \] [0-9]+ test/) {
        failed_in[program] += count_of(line)
    } else if (line !~ /^\[/) {
        said[program] = line
    }
    next
}

match($0, /Test +#[0-9]+: /) {
    program = substr($0, RSTART, RLENGTH)
    gsub(/[^0-9]/, "", program)
    name = substr($0, RSTART + RLENGTH)
    sub(/ .*/, "", name)
    passed += passed_in[program]
    if ($0 ~ / Passed +[0-9.]+ sec/) {
        if (!counted[program])
            passed++
    } else if ($0 ~ /\*\*\*Skipped/) {
        skipped++
        print "skip " name ": " (said[program] == "" ? "(the program gives no reason)" : said[program])
    } else {
        failed += failed_in[program] ? failed_in[program] : 1
        print "FAIL " name
    }
}

END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }

function count_of(line) {
    sub(/^[^0-9]*/, "", line)
    return line + 0
}
