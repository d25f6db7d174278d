"""Files of others: photos, clips, subject folders, crops, splat files, videos."""
