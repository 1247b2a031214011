# Sourced by scripts that train in stages within a time limit: LIMIT= (seconds; empty: none), WANE= (the program).
#
# `train` wants two folders of its caller: $out for runs, $logs for what they print.
limit=${LIMIT:-}
wane=${WANE:-$([ -x .gpu/wane ] && echo .gpu/wane || echo target/release/wane)}

# Seconds left; a large number without a limit.
left() { if [ -z "$limit" ]; then echo 1000000; else echo $((limit - SECONDS)); fi; }
has_time() { [ "$(left)" -ge "$1" ]; }

# train NAME CONFIG DEVICE ARGUMENTS: true once the model is there, in $out/NAME/model.
train() {
    local name=$1 config=$2 device=$3
    shift 3
    if [ ! -f "$out/$name/model/config.json" ]; then
        has_time 20 || return 1
        local stop=()
        [ -z "$limit" ] || stop=(--max-seconds $(($(left) - 12)))
        "$wane" train "$config" --device "$device" --output "$out/$name" --resume "${stop[@]}" \
            --set "name=$name" "$@" >>"$logs/$name.txt" 2>&1 || { tail -n 3 "$logs/$name.txt" >&2; return 2; }
        tail -n 1 "$logs/$name.txt"
    fi
    [ -f "$out/$name/model/config.json" ]
}
