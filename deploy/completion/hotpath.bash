# bash completion for hotpath: commands, flags, their values, profiles and pids.

_hotpath() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= word
  local commands="record top list peek tree traces tags raw flame diff quality probes doctor"
  local output="--format --color"
  local target="-p --pid --comm --exe --cgroup"
  local capture="-t --type -d --duration -F --frequency --from --to $target"
  local filter="--sample-type --by --focus --ignore --hide --show --tagfocus --tagignore --tagroot"
  local base="--base --diff-base" order="--cum -n" flags
  COMPREPLY=()

  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
      --) return ;;  # A command of the user's follows.
      -*) ;;
      *) command=$word; break ;;
    esac
  done
  if [[ -z $command ]]; then
    COMPREPLY=($(compgen -W "$commands -h --help --version" -- "$current"))
    return
  fi

  case $previous in
    --format) COMPREPLY=($(compgen -W "text json csv" -- "$current")); return ;;
    --color) COMPREPLY=($(compgen -W "auto always never" -- "$current")); return ;;
    --by) COMPREPLY=($(compgen -W "function line file address" -- "$current")); return ;;
    --alloc) COMPREPLY=($(compgen -W "sampled exact" -- "$current")); return ;;
    -t|--type) COMPREPLY=($(compgen -W "cpu allocs memory_growth" -- "$current")); return ;;
    -p|--pid) COMPREPLY=($(compgen -W "$(cd /proc && echo [0-9]*)" -- "$current")); return ;;
    --tagroot) COMPREPLY=($(compgen -W "comm process exe cgroup unit container pod" -- "$current")); return ;;
    --source-path) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --sample-type|--focus|--ignore|--hide|--show|--tagfocus|--tagignore|-n) return ;;
    -d|--duration|-F|--frequency|--from|--to|--comm|--min-complete|--min-named) return ;;
  esac

  if [[ $current == -* ]]; then
    case $command in
      record) flags="-t --type $target -d --duration -F --frequency -o --output --alloc --quiet" ;;
      list) flags="--source-path $order $filter $base $capture $output" ;;
      top|peek|tree|traces|tags|raw) flags="$order $filter $base $capture $output" ;;
      flame) flags="-o --output $filter $base $capture $output" ;;
      diff) flags="$order $filter $capture $output" ;;
      quality) flags="--min-complete --min-named $capture $output" ;;
      probes) flags="-p --pid $output" ;;
      doctor) flags="$output" ;;
    esac
    COMPREPLY=($(compgen -W "$flags -h --help" -- "$current"))
    return
  fi
  COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _hotpath hotpath
