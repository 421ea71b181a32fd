#!/bin/sh
# The state of SLURM job $1 in Snakemake's words: running, success or failed.
state=$(squeue --noheader --states=all --jobs="$1" --format=%T 2>/dev/null)
# Jobs that the controller has forgotten are known to the accounting, where there is one.
[ -n "$state" ] || state=$(sacct --noheader --parsable2 --allocations --jobs="$1" --format=State 2>/dev/null)
case ${state%% *} in
    COMPLETED) echo success ;;
    PENDING | CONFIGURING | RUNNING | SUSPENDED | COMPLETING | REQUEUED | RESIZING | STOPPED) echo running ;;
    *) echo failed ;;
esac
