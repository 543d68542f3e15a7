curl --silent --show-error --max-time 25 --aws-sigv4 "aws:amz:$AWS_REGION:execute-api" \
  --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
  ${AWS_SESSION_TOKEN:+"-Hx-amz-security-token: $AWS_SESSION_TOKEN"} \
  "$API_URL/groups/$GROUP_ID/liveMigrations/$LIVE_MIGRATION_ID"
