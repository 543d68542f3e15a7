// osls loads no .ts.
module.exports = require('./deployment.ts');
