"""Metadata of The Update Framework (TUF): what is signed of every project, in the transaction that changes it.

    root, targets       the operator's keys, offline, by a threshold; a year
    timestamp           the service's, a day; signed again every hour and at every change
    snapshot            the service's, a week; versions of all bins
    bins-XXX            the service's, a month; each names the files of its share of projects (hashed bins): a change
                        signs one bin, snapshot and timestamp, whatever the number of projects

All state is in the tables ``signed_roles`` and ``signed_files``: any number of processes may sign, one at a time.
"""
