# tally_tap.awk - counts TAP, as bats prints it.
#
# Prints "skip NAME: reason" for each skipped test and the closing line "N passed, N failed, N skipped". Tests that were
# announced and never reported count as failed.

/^1\.\.[0-9]+$/ { announced += substr($0, 4) }

/^ok [0-9]+ .* # skip/ {
    skipped++
    name = $0
    sub(/^ok [0-9]+ /, "", name)
    reason = name
    sub(/ # skip.*/, "", name)
    sub(/.* # skip ?/, "", reason)
    print "skip " name ": " (reason == "" ? "(the test gives no reason)" : reason)
    next
}

/^ok [0-9]+ / { passed++ }
/^not ok [0-9]+ / { failed++ }

END {
    lost = announced - passed - failed - skipped
    if (lost > 0)
        print "FAIL " lost " tests were announced and never reported"
    printf "%d passed, %d failed, %d skipped\n", passed, failed + (lost > 0 ? lost : 0), skipped
}
