# For .ci/full and .ci/trust: a table of results whose rows are commands. Rows that `only` (a pattern)
# does not name keep what the table has of them, with their own date and commit: what takes hours can
# be run in parts, or ended with what is done.
number=0
names=()
at_once=2
scratch=$(mktemp -d)
trap 'exit 130' INT TERM # and so finish
trap finish EXIT

# Two rows at a time; where something is timed, `alone`.
row() {  # name, then a command whose last line says what was done
    names+=("$1")
    [[ $1 =~ $only ]] || return 0
    number=$((number + 1))
    while [ "$(jobs -rp | wc -l)" -ge $at_once ]; do wait -n || true; done
    run_row "$scratch/$(printf %02d $number)" "$@" &
}
alone() {
    wait
    row "$@"
    wait
}
run_row() {  # where its row and its output go, name, command
    local to=$1 name=$2 from=$SECONDS status=0 told
    shift 2
    "$@" > "$to.log" 2>&1 || status=$?
    [ $status -eq 0 ] || { touch "$scratch.found"; grep -E '^(FAILED|ERROR) ' "$to.log" >&2; tail -n 40 "$to.log" >&2; }
    told=$(grep -v '^ *$' "$to.log" | tail -n 1 | tr '|' ';')
    echo "| $name | $told | $status | $((SECONDS - from)) | $(date -u +%F), $(git rev-parse --short HEAD) |" \
        | tee "$to.row" >&2
}
write_table() {  # what the script calls table, title and above
    {
        printf '# %s\n\n%s\n\n' "$title" "$above"
        echo "| what | its last line | status | seconds | date, commit |"
        echo "| --- | --- | ---: | ---: | --- |"
        for name in "${names[@]}"; do
            cat "$scratch"/*.row "$table" 2> "$scratch/none" | grep -m 1 -F "| $name |"
        done
    } > "$scratch/table"
    mv "$scratch/table" "$table"
    echo "wrote $table"
}
finish() {
    local status=$?
    write_table
    rm -rf "$scratch"
    if [ -e "$scratch.found" ]; then rm "$scratch.found"; exit 1; fi
    exit $status
}
