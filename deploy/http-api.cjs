/** The HTTP API before the function: who may call (IAM or a JWT), from which pages (CORS), and how often. */

module.exports = ({ corsOrigins, jwtIssuer, jwtAudience, throttlingRate, throttlingBurst }) => ({
  httpApi: {
    ...(corsOrigins.length > 0
      ? {
          cors: {
            allowedOrigins: corsOrigins,
            allowedMethods: ['GET'],
            allowedHeaders: ['authorization', 'x-amz-date', 'x-amz-security-token'],
          },
        }
      : {}),
    ...(jwtIssuer
      ? {
          authorizers: {
            jwt: {
              type: 'jwt',
              identitySource: '$request.header.Authorization',
              issuerUrl: jwtIssuer,
              audience: jwtAudience,
            },
          },
        }
      : {}),
  },
  authorizer: jwtIssuer ? { name: 'jwt' } : { type: 'aws_iam' },
  throttling: {
    ThrottlingRateLimit: Number(throttlingRate),
    ThrottlingBurstLimit: Number(throttlingBurst),
  },
});
