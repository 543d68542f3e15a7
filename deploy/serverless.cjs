// osls loads no .ts for a variable; the Node.js that it runs on does.
if (!process.features.typescript)
  throw new Error(
    `Node.js ${process.version} does not run TypeScript. \`npx serverless\` runs on the project's own Node.js; where that is missing, this installs it: npm ci --ignore-scripts=false`,
  );
module.exports = require('./deployment.ts');
